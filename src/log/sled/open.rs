//! How a store is opened, and what is done about one that is damaged.
//!
//! ```text
//!   suspect? files there? replay sound? ──no──▶ Serve: salvage ──▶ open the new store
//!            │ yes                              ServeWhole: an error │ Examine: a note, and open
//!            ▼                                        ▲
//!   sled opens, the write-ahead log ────────no────────┘
//!   goes on, logs end, version
//! ```
//!
//! sled does not come near a store that is known to be damaged: it would zero what it cannot read.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::trees::Trees;
use super::wal::{self, Wal};
use super::{Purpose, SledLog, SledOptions, Writer, find, rebuild, replay};
use crate::log::failure::{Failure, guarded};
use crate::log::head::{Found, HeadFile};
use crate::log::heads::Heads;
use crate::log::open::behind;
use crate::log::salvage::{self, Repair};
use crate::log::step::{Doing, Steps, Tell};
use crate::log::upgrade::{self, Age};
use crate::log::verify::{Seen, records_of, verify};
use crate::log::{Last, OpenError, Opened, directory, snapshot, space, suspect};
use crate::protocol::Seq;
use crate::protocol::batch::Commit;
use crate::protocol::version::STORE_VERSION;

/// Why a store could not be opened.
enum Trouble {
    /// It is damaged: a salvage may help.
    Damage(String),
    /// Something else.
    Other(OpenError),
}

impl SledLog {
    /// Opens the store in this directory, or makes one. For [`Purpose::Serve`] a damaged one is repaired, see
    /// [`crate::log::salvage`], and the damage told in the answer.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::Damaged`] only for other purposes.
    pub fn open(dir: &Path, options: SledOptions) -> Result<(SledLog, Opened), OpenError> {
        SledLog::open_telling(dir, options, &mut |_| {})
    }

    /// As [`Self::open`], and tells how far a repair is.
    ///
    /// # Errors
    /// As there.
    pub fn open_telling(
        dir: &Path,
        options: SledOptions,
        tell: Tell<'_>,
    ) -> Result<(SledLog, Opened), OpenError> {
        let opening = Opening::begin(dir, options)?;
        let looked = opening.look();
        opening.go_on(looked, tell).map(|(log, opened, _)| (log, opened))
    }

    /// Repairs the store in this directory if it is damaged, or anyhow when `even_whole`, as
    /// [`Self::open`] would, but looks at every batch before; answers what was done, if anything was, and tells meanwhile
    /// how far it is.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn repair(dir: &Path, even_whole: bool, tell: Tell<'_>) -> Result<Option<Repair>, OpenError> {
        let (log, repair) = SledLog::repair_known(dir, even_whole, tell)?;
        if repair.is_some() {
            return Ok(repair);
        }
        // Whatever cannot be read makes the store suspect.
        let mut steps = Steps::begin(Doing::Checking, records_of(&log), tell);
        verify(&log, &mut |seen| match seen {
            Seen::Batch(batch) => steps.add(batch.header().count.into()),
            Seen::Lost(_, damage) => steps.add(damage.to - damage.from),
            Seen::Finding(_) | Seen::End(..) => {}
        });
        drop(log);
        SledLog::repair_known(dir, false, tell).map(|(_, repair)| repair)
    }

    fn repair_known(
        dir: &Path,
        even_whole: bool,
        tell: Tell<'_>,
    ) -> Result<(SledLog, Option<Repair>), OpenError> {
        let opening = Opening::begin(dir, SledOptions::default())?;
        let looked = match opening.look() {
            Ok(None) if even_whole => Ok(Some("it was asked for".to_owned())),
            looked => looked,
        };
        opening.go_on(looked, tell).map(|(log, _, repair)| (log, repair))
    }
}

/// A store that is being opened.
struct Opening<'a> {
    dir: &'a Path,
    options: SledOptions,
    lock: File,
    head: HeadFile,
    /// What the head file says, if it says anything.
    known: Option<Last>,
    known_version: u16,
}

impl<'a> Opening<'a> {
    /// Takes hold of the directory, and reads what lies beside the store.
    fn begin(dir: &'a Path, options: SledOptions) -> Result<Opening<'a>, OpenError> {
        let refused = |why: io::Error| OpenError::io(dir, why);
        let lock = directory::hold(dir)?;
        let (head, found) = HeadFile::open(&dir.join("head")).map_err(refused)?;
        let (known, known_version) = match found {
            Found::Newer(found) => return Err(OpenError::NewerFormat { found, ours: STORE_VERSION }),
            Found::Nothing => (None, STORE_VERSION),
            Found::Last(last, version) => (Some(last), version),
        };
        let opening = Opening { dir, options, lock, head, known, known_version };
        if options.purpose == Purpose::Serve {
            salvage::begin_again(dir).map_err(refused)?;
        }
        if let Some(data) = opening.await_unlock()? {
            data.sync_all().map_err(refused)?;
        }
        if options.purpose != Purpose::Examine {
            snapshot::remove_unfinished(dir).map_err(refused)?;
            remove_unfinished_index(&dir.join("store")).map_err(refused)?;
        }
        Ok(opening)
    }

    /// What is wrong with the store, as far as that can be seen before sled opens it.
    fn look(&self) -> Result<Option<String>, OpenError> {
        let store = self.dir.join("store");
        let has_commits = self.known.is_some_and(|known| known.seq > Seq(0));
        let look = || {
            if let Some(why) = suspect::why(self.dir)? {
                return Ok(Some(why));
            }
            if salvage::unfinished(self.dir) {
                return Ok(Some("its salvage was cut off".to_owned()));
            }
            if !store.join("db").exists() {
                let is_used = has_commits || has_index(&store)?;
                return Ok(is_used.then(|| "its file store/db is gone".to_owned()));
            }
            if !store.join("conf").exists() {
                return Ok(Some("its file store/conf is gone".to_owned()));
            }
            replay::check(&store, self.known)
        };
        look().map_err(|why| self.refused(why))
    }

    /// Opens the store, and repairs it where that is wanted and needed.
    fn go_on(
        mut self,
        looked: Result<Option<String>, OpenError>,
        tell: Tell<'_>,
    ) -> Result<(SledLog, Opened, Option<Repair>), OpenError> {
        let dir = self.dir;
        let mut damage = looked?;
        let (may_repair, must_be_whole) =
            (self.options.purpose == Purpose::Serve, self.options.purpose == Purpose::ServeWhole);
        let mut opened = match &damage {
            Some(why) if self.options.purpose != Purpose::Examine => Err(Trouble::Damage(why.clone())),
            _ => self.open_store(),
        };
        if let (Ok((_, heads)), true) = (&opened, must_be_whole || may_repair)
            && let Some(why) = self.known.and_then(|known| behind(heads.last(), known))
            && (must_be_whole || self.can_be_repaired(heads, tell)?)
        {
            opened = Err(Trouble::Damage(why));
        }
        let mut repair = None;
        if let (Err(Trouble::Damage(why)), true) = (&opened, may_repair) {
            let why = why.clone();
            drop(opened);
            self.await_unlock()?;
            let rebuilt = rebuild::rebuild(dir, &why, self.known, self.options.cache_bytes, tell);
            // What it leaves takes room, and would be begun anew anyhow.
            let rebuilt = rebuilt.inspect_err(|_| drop(salvage::begin_again(dir)))?;
            // The damaged store is kept as it is: there is nothing to copy before an upgrade.
            self.known_version = STORE_VERSION;
            opened = self.open_store();
            repair = Some(rebuilt);
        }
        let (trees, heads) = opened.map_err(|trouble| match trouble {
            Trouble::Damage(why) => OpenError::Damaged { dir: dir.to_owned(), why },
            Trouble::Other(error) => error,
        })?;
        let last = heads.last();
        if self.options.purpose != Purpose::Examine {
            snapshot::set_aside(dir, last.seq).map_err(|why| self.refused(why))?;
        }
        if let Some(repair) = &mut repair {
            repair.last = last;
            let write = self.head.write(last).and_then(|()| self.head.sync());
            write.and_then(|()| suspect::clear(dir)).map_err(|why| self.refused(why))?;
            damage = Some(repair.to_string());
            tracing::warn!("{repair}");
        } else if let Some(known) = self.known {
            let behind = behind(last, known);
            damage = match (damage, behind) {
                (Some(damage), Some(behind)) => Some(format!("{damage}; {behind}")),
                (damage, behind) => damage.or(behind),
            };
        }
        let mut wal = Wal::open(&dir.join("store")).map_err(|why| self.refused(why))?;
        // With this sled has everything durable that it was given above.
        let data = directory::sync_files(dir, &dir.join("store")).map_err(|why| self.refused(why))?;
        // What the log holds that was not taken is no more, and must not be found by a salvage one day.
        if self.options.purpose != Purpose::Examine {
            wal.clear().map_err(|why| self.refused(why))?;
        }
        let fresh = last.seq.0 == 0 && self.known.is_none_or(|known| known.seq.0 == 0) && damage.is_none();
        let Opening { lock, head, options, .. } = self;
        let tells = options.purpose != Purpose::Examine;
        let writer = Writer { data, head, wal };
        Ok((SledLog::new(dir, trees, heads, writer, tells, lock), Opened { fresh, damage }, repair))
    }

    /// Whether a salvage mends a store that is not what the head file says: a part of its newest commit is gone, or
    /// its files hold newer ones. Where they do not, it may as well be an old copy, which is as it is.
    fn can_be_repaired(&self, heads: &Heads, tell: Tell<'_>) -> Result<bool, OpenError> {
        let is_torn = self.known.is_some_and(|known| known.seq == heads.last().seq);
        Ok(is_torn || rebuild::finds_more(self.dir, heads, tell).map_err(|why| self.refused(why))?)
    }

    /// Lets sled open the store, upgrades it if it is of an older version, and finds its logs.
    fn open_store(&mut self) -> Result<(Trees, Heads), Trouble> {
        let (dir, upgrades) = (self.dir, self.options.purpose != Purpose::Examine);
        let store = dir.join("store");
        let failed = |failure: Failure| match failure {
            Failure::Io(why) if why.kind() != io::ErrorKind::UnexpectedEof => {
                Trouble::Other(OpenError::io(dir, why))
            }
            // What goes wrong for want of room is no damage, and must not begin a salvage.
            _ if space::is_full(dir) => Trouble::Other(OpenError::Full { dir: dir.to_owned() }),
            Failure::Io(why) => Trouble::Damage(format!("a file of its ends too early: {why}")),
            Failure::Broken(why) => Trouble::Damage(why),
            Failure::Log(error) => Trouble::Damage(error.to_string()),
        };
        let refused = |why: io::Error| Trouble::Other(OpenError::io(dir, why));
        if upgrades && self.known_version < STORE_VERSION {
            // Before sled is opened, which changes its files. The trees say the same version, or a newer one.
            upgrade::back_up(dir, self.known_version).map_err(refused)?;
        }
        let open = || guarded(|| Trees::open(&store, self.options.cache_bytes)).map_err(failed);
        let mut trees = open()?;
        let version = guarded(|| trees.number(b"version")).map_err(failed)?;
        let age = version.map_or(Ok(Age::Ours), |version| upgrade::check(dir, version));
        let age = age.map_err(|error| match error {
            OpenError::Damaged { why, .. } => Trouble::Damage(why),
            other => Trouble::Other(other),
        })?;
        if let (Age::Older(older), true) = (age, upgrades) {
            drop(trees);
            self.await_unlock().map_err(Trouble::Other)?;
            let backup = upgrade::back_up(dir, older).map_err(refused)?;
            if older < wal::SINCE_VERSION {
                // One that lies there was left by a newer version, before a backup was put in its store's place.
                wal::remove(&store).and_then(|()| directory::sync(&store)).map_err(refused)?;
            }
            trees = open()?;
            guarded(|| trees.set_number(b"version", &STORE_VERSION.to_le_bytes())).map_err(failed)?;
            guarded(|| trees.flush()).map_err(failed)?;
            let (now, backup) = (STORE_VERSION, backup.display());
            tracing::warn!(%backup, "the store was upgraded from version {older} to {now}; a copy is kept");
        }
        let find = || guarded(|| find::heads(&trees, self.known.unwrap_or_default())).map_err(failed);
        let mut heads = find()?;
        let newer = newer_in_wal(dir, &heads)?;
        if !newer.is_empty() {
            let go_on = || {
                newer.iter().try_for_each(|commit| trees.insert(&commit.batches))?;
                trees.flush()
            };
            guarded(go_on).map_err(failed)?;
            heads = find()?;
        }
        if version.is_none() {
            // A store that was made and never used, or what damage has left of one.
            if heads.last().seq.0 > 0 {
                return Err(Trouble::Damage("it does not say its version".to_owned()));
            }
            guarded(|| trees.set_number(b"version", &STORE_VERSION.to_le_bytes())).map_err(failed)?;
            guarded(|| trees.flush()).map_err(failed)?;
        }
        if let (true, Some(known)) = (upgrades && self.known_version < STORE_VERSION, self.known) {
            self.head.write(known).map_err(refused)?;
        }
        Ok((trees, heads))
    }

    /// Waits until nobody has sled's file locked, if there is one; answers it.
    fn await_unlock(&self) -> Result<Option<File>, OpenError> {
        let Ok(data) = File::open(self.dir.join("store/db")) else { return Ok(None) };
        directory::await_unlock(self.dir, &data)?;
        Ok(Some(data))
    }

    fn refused(&self, why: io::Error) -> OpenError {
        OpenError::io(self.dir, why)
    }
}

/// The commits of the write-ahead log that sled does not have, or may not have as a whole: its newest.
fn newer_in_wal(dir: &Path, heads: &Heads) -> Result<Vec<Commit>, Trouble> {
    let mut commits = wal::read(&dir.join("store")).map_err(|why| Trouble::Other(OpenError::io(dir, why)))?;
    let last = heads.last().seq;
    commits.retain(|commit| commit.seq >= last);
    match commits.first() {
        Some(first) if first.seq > last.next() => Err(Trouble::Damage(format!(
            "its newest commit is {last}, and its write-ahead log goes on with {}",
            first.seq
        ))),
        _ => Ok(commits),
    }
}

/// Whether sled has put down an index of its file.
fn has_index(store: &Path) -> io::Result<bool> {
    Ok(index_files(store)?.iter().any(|name| name.starts_with("snap.")))
}

/// Removes an index that was not written to its end: sled takes it for the newest, and for damage.
fn remove_unfinished_index(store: &Path) -> io::Result<()> {
    let unfinished = |name: &String| name.starts_with("snap.") && name.ends_with(".generating");
    index_files(store)?
        .iter()
        .filter(|name| unfinished(name))
        .try_for_each(|name| fs::remove_file(store.join(name)))
}

fn index_files(store: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(store) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
