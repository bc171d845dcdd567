//! What workers have beside their functions, and what tasks need of that: resources, labels, hosts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::limits::{
    AMOUNT_MAX, DEMAND_BYTES_MAX, GRANTED_PARTS_MAX, LABELS_MAX, NAME_BYTES_MAX, NEEDS_MAX, RESOURCES_MAX,
    TARGETS_MAX, TooLarge,
};
use super::name::name;
use super::rejection::Rejection;
use super::size::Bytes;

name! {
    /// What workers have some of: 1 to [`NAME_BYTES_MAX`] bytes of letters, digits, and `. _ - / :`.
    ResourceName, "resource", |name| name
}

name! {
    /// A word that a worker carries, and by which tasks choose it; made like a [`ResourceName`].
    Label, "label", |name| name
}

/// So much of a resource, in ten-thousandths, so that sums are exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Amount(pub u64);

impl Amount {
    /// One of it.
    pub const ONE: Amount = Amount(10_000);

    /// So many of it; at most [`AMOUNT_MAX`].
    pub fn whole(count: u64) -> Self {
        Amount(count.saturating_mul(Self::ONE.0))
    }

    /// How many whole ones are in it, and what is left.
    pub fn split(self) -> (u64, Amount) {
        (self.0 / Self::ONE.0, Amount(self.0 % Self::ONE.0))
    }

    /// What is left without so much.
    #[must_use]
    pub fn less(self, other: Amount) -> Self {
        Amount(self.0.saturating_sub(other.0))
    }

    /// With so much more.
    #[must_use]
    pub fn more(self, other: Amount) -> Self {
        Amount(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, Amount(rest)) = self.split();
        match rest {
            0 => write!(f, "{whole}"),
            rest => write!(f, "{whole}.{}", format!("{rest:04}").trim_end_matches('0')),
        }
    }
}

/// A text that says nothing of what workers have or tasks need.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadEquipment(String);

impl FromStr for Amount {
    type Err = BadEquipment;

    /// Reads `2`, `0.5`, and bytes with their unit: `16GiB`.
    fn from_str(text: &str) -> Result<Self, BadEquipment> {
        const LIKE: &str = "give a number like 2, 0.5 or 16GiB";
        let text = text.trim();
        let bad = |why: &str| BadEquipment(format!("`{text}` {why}"));
        let (number, unit) = text.split_at(text.find(char::is_alphabetic).unwrap_or(text.len()));
        let (whole, rest) = number.trim_end().split_once('.').unwrap_or((number.trim_end(), "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if text.is_empty() {
            return Err(BadEquipment(format!("there is no amount: {LIKE}")));
        } else if whole.strip_prefix('-').is_some_and(is_number) {
            return Err(bad(&format!("is less than nothing: {LIKE}")));
        } else if !is_number(whole) || !is_number(rest) {
            return Err(bad(&format!("is no amount: {LIKE}")));
        } else if rest.len() > 4 {
            return Err(bad("is finer than a ten-thousandth: give at most 4 decimals"));
        }
        let unit = match unit {
            "" => Some(1),
            unit => {
                format!("1{unit}").parse().ok().map(|Bytes(bytes)| bytes).filter(|_| !number.contains('.'))
            }
        };
        let Some(unit) = unit else {
            let units = "bytes are whole numbers of KiB, MiB, GiB or TiB";
            return Err(bad(&format!("is no amount: {LIKE}; {units}")));
        };
        // Digits that are no number are too many.
        let whole = whole.parse().ok().and_then(|whole: u64| whole.checked_mul(unit));
        let Some(whole) = whole.filter(|whole| *whole <= AMOUNT_MAX) else {
            let most = format!("{AMOUNT_MAX} is the most, of bytes {}TiB", AMOUNT_MAX >> 40);
            return Err(bad(&format!("is too much: {LIKE}; {most}")));
        };
        let rest = format!("{rest:0<4}").parse().expect("it is four digits");
        Ok(Amount::whole(whole).more(Amount(rest)))
    }
}

/// How much a worker has of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Supply {
    /// So much, all alike: cores, or bytes of memory.
    Sum(Amount),
    /// One of each of these, told apart: the numbers of its GPUs, say. A part of one may be granted, but never parts of
    /// several where one is needed.
    Each(Vec<Box<str>>),
}

impl Supply {
    /// All of it.
    pub fn total(&self) -> Amount {
        match self {
            Supply::Sum(amount) => *amount,
            Supply::Each(ones) => Amount::whole(ones.len() as u64),
        }
    }
}

/// A resource of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name.
    pub name: ResourceName,
    /// How much there is.
    pub supply: Supply,
}

impl fmt::Display for Resource {
    /// As it is read, but for names with a comma or a bracket in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.supply {
            Supply::Sum(amount) => write!(f, "{}={amount}", self.name),
            Supply::Each(ones) => write!(f, "{}=[{}]", self.name, ones.join(",")),
        }
    }
}

impl FromStr for Resource {
    type Err = BadEquipment;

    /// Reads `cpus=4`, `memory=16GiB`, `gpus=[0,1]`.
    fn from_str(text: &str) -> Result<Self, BadEquipment> {
        let (name, supply) =
            named(text, "a resource and how much there is: cpus=4, memory=16GiB, gpus=[0,1]")?;
        let listed = supply.strip_prefix('[').and_then(|ones| ones.strip_suffix(']'));
        let supply = match listed {
            Some(ones) => {
                let ones = ones.split(',').map(str::trim).filter(|one| !one.is_empty());
                Supply::Each(ones.map(Box::from).collect())
            }
            None => Supply::Sum(supply.parse()?),
        };
        Ok(Resource { name, supply })
    }
}

/// What a worker has beside its functions and slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equipment {
    /// The name of the machine that it runs on.
    pub host: Box<str>,
    /// Words by which tasks choose it.
    pub labels: Vec<Label>,
    /// Its resources, each once.
    pub resources: Vec<Resource>,
}

impl Equipment {
    /// The part of the resources that one of several workers on a machine has, `nth` from 0: of sums each has as much, and
    /// each one of what is told apart goes to one of them.
    #[must_use]
    pub fn part(&self, nth: usize, of: usize) -> Self {
        let part = |supply: &Supply| match supply {
            Supply::Sum(Amount(all)) => Supply::Sum(Amount(all / of.max(1) as u64)),
            Supply::Each(ones) => Supply::Each(ones.iter().skip(nth).step_by(of.max(1)).cloned().collect()),
        };
        let resources = self
            .resources
            .iter()
            .map(|Resource { name, supply }| Resource { name: name.clone(), supply: part(supply) });
        let resources = resources.filter(|resource| resource.supply.total() > Amount(0)).collect();
        Equipment { resources, ..self.clone() }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// [`Rejection::TooLarge`] names the first that is broken, [`Rejection::Invalid`] what makes no sense.
    pub fn check(&self) -> Result<(), Rejection> {
        TooLarge::check("the name of the worker's host", self.host.len(), NAME_BYTES_MAX, "shorten it")?;
        TooLarge::check("the number of the worker's labels", self.labels.len(), LABELS_MAX, "give fewer")?;
        TooLarge::check(
            "the number of the worker's resources",
            self.resources.len(),
            RESOURCES_MAX,
            "give fewer",
        )?;
        let mut told_apart = 0;
        for (at, Resource { name, supply }) in self.resources.iter().enumerate() {
            if self.resources[..at].iter().any(|other| other.name == *name) {
                return Err(Rejection::Invalid(format!(
                    "the worker has `{name}` twice: say once how much there is"
                )));
            }
            check_amount(name, supply.total())?;
            let Supply::Each(ones) = supply else { continue };
            told_apart += ones.len();
            let hint = "offer a number of them";
            TooLarge::check(
                "the number of resources that are told apart",
                told_apart,
                GRANTED_PARTS_MAX,
                hint,
            )?;
            for (at, one) in ones.iter().enumerate() {
                TooLarge::check(
                    format!("the name of one of `{name}`"),
                    one.len(),
                    NAME_BYTES_MAX,
                    "shorten it",
                )?;
                if ones[..at].contains(one) {
                    let twice = format!("the worker has `{one}` of `{name}` twice: name each once");
                    return Err(Rejection::Invalid(twice));
                }
            }
        }
        Ok(())
    }
}

fn check_amount(name: &ResourceName, amount: Amount) -> Result<(), Rejection> {
    if amount == Amount(0) {
        return Err(Rejection::Invalid(format!("0 of `{name}` is nothing: give more, or leave it out")));
    }
    let whole = usize::try_from(amount.split().0).unwrap_or(usize::MAX);
    Ok(TooLarge::check(
        format!("the amount of `{name}`"),
        whole,
        AMOUNT_MAX as usize,
        "count in larger units",
    )?)
}

/// How much a task needs of a resource, while an attempt at it is with a worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Need {
    /// Which resource.
    pub resource: ResourceName,
    /// How much of it.
    pub amount: Amount,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.resource, self.amount)
    }
}

impl FromStr for Need {
    type Err = BadEquipment;

    /// Reads `cpus=2`, `gpus=0.5`, `memory=4GiB`.
    fn from_str(text: &str) -> Result<Self, BadEquipment> {
        let (resource, amount) = named(text, "a resource and how much of it: cpus=2, gpus=0.5, memory=4GiB")?;
        Ok(Need { resource, amount: amount.parse()? })
    }
}

/// What an attempt has of a worker's resource, from when it is given to the worker until it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Which resource.
    pub resource: ResourceName,
    /// How much of it.
    pub amount: Amount,
    /// Of what is told apart: which ones, and how much of each.
    pub parts: Vec<(Box<str>, Amount)>,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.resource, self.amount)?;
        if !self.parts.is_empty() {
            let names: Vec<&str> = self.parts.iter().map(|(name, _)| &**name).collect();
            write!(f, " ({})", names.join(","))?;
        }
        Ok(())
    }
}

/// Workers that a task may run on, or runs on rather than on others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// The one of this name.
    Worker(Box<str>),
    /// All on this machine.
    Host(Box<str>),
    /// All that carry this word.
    Label(Label),
}

impl Target {
    /// The worker's or host's name, or the word.
    pub fn name(&self) -> &str {
        match self {
            Target::Worker(name) | Target::Host(name) => name,
            Target::Label(label) => label.as_str(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Worker(name) => write!(f, "worker={name}"),
            Target::Host(name) => write!(f, "host={name}"),
            Target::Label(label) => write!(f, "label={label}"),
        }
    }
}

impl FromStr for Target {
    type Err = BadEquipment;

    /// Reads `worker=NAME`, `host=NAME`, `label=WORD`.
    fn from_str(text: &str) -> Result<Self, BadEquipment> {
        let wanted = "give worker=NAME, host=NAME or label=WORD, as in host=rack-7";
        let bad = || BadEquipment(format!("`{text}` names no workers: {wanted}"));
        let (kind, name) = text.split_once('=').filter(|(_, name)| !name.is_empty()).ok_or_else(bad)?;
        match kind {
            "worker" => Ok(Target::Worker(name.into())),
            "host" => Ok(Target::Host(name.into())),
            "label" => Label::new(name).map(Target::Label).map_err(|bad| BadEquipment(bad.to_string())),
            _ => Err(bad()),
        }
    }
}

/// Checks what a task needs, and where it may run or is to.
pub(super) fn check_demand<'a>(
    needs: impl Iterator<Item = &'a Need>,
    targets: impl Iterator<Item = &'a Target>,
) -> Result<(), Rejection> {
    let (needs, targets): (Vec<&Need>, Vec<&Target>) = (needs.collect(), targets.collect());
    TooLarge::check("the number of resources that a task needs", needs.len(), NEEDS_MAX, "need fewer")?;
    for (at, Need { resource, amount }) in needs.iter().enumerate() {
        check_amount(resource, *amount)?;
        if needs[..at].iter().any(|other| other.resource == *resource) {
            return Err(Rejection::Invalid(format!("`{resource}` is needed twice: say once how much")));
        }
    }
    TooLarge::check(
        "the number of workers, hosts and labels",
        targets.len(),
        TARGETS_MAX,
        "give workers a label",
    )?;
    let bytes = needs.iter().map(|need| need.resource.as_str().len()).sum::<usize>()
        + targets.iter().map(|target| target.name().len()).sum::<usize>();
    let what = "all names of what a task needs and where it may run together";
    TooLarge::check(what, bytes, DEMAND_BYTES_MAX, "give shorter ones, or give workers a label")?;
    Ok(())
}

/// A name and what stands behind the `=`.
fn named<'a>(text: &'a str, wanted: &str) -> Result<(ResourceName, &'a str), BadEquipment> {
    let bad = |why: &str| BadEquipment(format!("`{text}`{why}: give {wanted}"));
    let (name, rest) = text.split_once('=').ok_or_else(|| bad(""))?;
    if name.is_empty() {
        return Err(bad(" names no resource"));
    }
    let name = ResourceName::new(name).map_err(|bad| BadEquipment(format!("{bad}: give {wanted}")))?;
    Ok((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_to_a_ten_thousandth() {
        for (text, amount, shown) in [
            ("2", 20_000, "2"),
            ("0.5", 5_000, "0.5"),
            ("0.0001", 1, "0.0001"),
            ("1.25", 12_500, "1.25"),
            ("4KiB", 40_960_000, "4096"),
        ] {
            assert_eq!(text.parse(), Ok(Amount(amount)));
            assert_eq!(Amount(amount).to_string(), shown);
        }
        assert_eq!("90TiB".parse(), Ok(Amount::whole(90 << 40)));
        assert_eq!(AMOUNT_MAX.to_string().parse(), Ok(Amount::whole(AMOUNT_MAX)));
    }

    #[test]
    fn what_is_no_amount_is_told_with_what_is_wrong_and_what_would_be_one() {
        let like = "give a number like 2, 0.5 or 16GiB";
        let no_unit = format!("is no amount: {like}; bytes are whole numbers of KiB, MiB, GiB or TiB");
        let too_much = format!("is too much: {like}; 100000000000000 is the most, of bytes 90TiB");
        for (texts, told) in [
            (&[".", "1.", ".5", "x", "-x", "-", "1,5", "1 2", "ä"][..], format!("is no amount: {like}")),
            (&["-1", "-0.5", "-4GiB"], format!("is less than nothing: {like}")),
            (&["1e3", "1.5GiB", "8GB", "8G", "8B", "8Gib", "8 GB", "1ä"], no_unit),
            (&["500TiB", "91TiB", "100000000000001", "99999999999999999999", "99999999999TiB"], too_much),
            (&["0.00001"], "is finer than a ten-thousandth: give at most 4 decimals".to_owned()),
        ] {
            for text in texts {
                let expected = format!("`{text}` {told}");
                assert_eq!(text.parse::<Amount>().unwrap_err().to_string(), expected);
            }
        }
        assert_eq!("".parse::<Amount>().unwrap_err().to_string(), format!("there is no amount: {like}"));
        let wanted = "give a resource and how much of it: cpus=2, gpus=0.5, memory=4GiB";
        for (text, why) in [("=", " names no resource"), ("=2", " names no resource"), ("cpus", ""), ("", "")]
        {
            let told = format!("`{text}`{why}: {wanted}");
            assert_eq!(text.parse::<Need>().unwrap_err().to_string(), told);
        }
        let told = "a b=1".parse::<Need>().unwrap_err().to_string();
        assert!(told.contains("it has other characters; use 1 to") && told.ends_with(wanted), "{told}");
        for text in ["worker", "worker=", "=", "", "rack=7"] {
            let told = "names no workers: give worker=NAME, host=NAME or label=WORD, as in host=rack-7";
            assert_eq!(text.parse::<Target>().unwrap_err().to_string(), format!("`{text}` {told}"));
        }
    }

    #[test]
    fn equipment_is_read_and_shown() {
        let resource = |text: &str| text.parse::<Resource>();
        assert_eq!(resource("cpus=4").unwrap().supply, Supply::Sum(Amount::whole(4)));
        assert_eq!(resource("gpus=[0, 1]").unwrap().supply, Supply::Each(vec!["0".into(), "1".into()]));
        for shown in ["cpus=1.5", "gpus=[0,GPU-7]"] {
            assert_eq!(resource(shown).unwrap().to_string(), shown);
        }
        assert!(resource("cpus").unwrap_err().to_string().contains("give a resource and how much there is"));
        assert!(resource("ä b=1").unwrap_err().to_string().contains("resource"));
        assert_eq!("gpus=0.5".parse::<Need>().unwrap().to_string(), "gpus=0.5");
        for target in ["worker=a b", "host=x", "label=zone:eu"] {
            assert_eq!(target.parse::<Target>().unwrap().to_string(), target);
        }
        for bad in ["worker=", "rack=1", "label"] {
            assert!(bad.parse::<Target>().unwrap_err().to_string().contains("give worker=NAME"), "{bad}");
        }
        let parts = vec![("0".into(), Amount::ONE), ("2".into(), Amount(5_000))];
        let grant = Grant { resource: ResourceName::new("gpus").unwrap(), amount: Amount(15_000), parts };
        assert_eq!(grant.to_string(), "gpus=1.5 (0,2)");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let with = |resources: &[&str]| {
            let resources = resources.iter().map(|text| text.parse().unwrap()).collect();
            Equipment { resources, ..Equipment::default() }.check().map_err(|rejection| rejection.to_string())
        };
        assert_eq!(with(&["cpus=4", "gpus=[0,1]"]), Ok(()));
        assert!(with(&["cpus=4", "cpus=2"]).unwrap_err().contains("has `cpus` twice"));
        assert!(with(&["gpus=[1,1]"]).unwrap_err().contains("has `1` of `gpus` twice"));
        assert!(with(&["gpus=[]"]).unwrap_err().contains("0 of `gpus` is nothing"));
        let name = ResourceName::new("m").unwrap();
        let much = check_amount(&name, Amount::whole(AMOUNT_MAX + 1)).unwrap_err().to_string();
        assert!(much.contains("the amount of `m` is 100000000000001"), "{much}");
        let needs = |needs: &[&str]| {
            let needs: Vec<Need> = needs.iter().map(|text| text.parse().unwrap()).collect();
            check_demand(needs.iter(), [].iter()).map_err(|rejection| rejection.to_string())
        };
        assert_eq!(needs(&["cpus=4", "gpus=0.5"]), Ok(()));
        assert!(needs(&["cpus=0"]).unwrap_err().contains("0 of `cpus` is nothing"));
        assert!(needs(&["cpus=1", "cpus=1"]).unwrap_err().contains("`cpus` is needed twice"));
    }

    #[test]
    fn workers_on_one_machine_share_what_it_has() {
        let resources = ["cpus=4", "gpus=[0,1,2]"].map(|text| text.parse().unwrap()).to_vec();
        let all = Equipment { resources, ..Equipment::default() };
        let part = |nth| all.part(nth, 2).resources.into_iter().map(|of| of.supply).collect::<Vec<_>>();
        let two = Supply::Sum(Amount::whole(2));
        assert_eq!(part(0), [two.clone(), Supply::Each(vec!["0".into(), "2".into()])]);
        assert_eq!(part(1), [two, Supply::Each(vec!["1".into()])]);
        assert_eq!(all.part(3, 4).resources.len(), 1, "none of its GPUs");
    }
}
