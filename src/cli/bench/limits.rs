//! What the machine can do: its disk and its loopback, measured beside each run. No scheduler takes part.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::figures::{Figures, Runs, quantile};

/// How many appends with an fdatasync of their own are measured: enough for a p99, under a second on most disks.
const SYNCS: usize = 300;

/// How many times a message of [`PING_BYTES`] goes there and back.
const PINGS: usize = 2_000;

/// How many times an append with its fdatasync and a message there and back are measured one after the other at a pace, and
/// from when to when one is: as lone commands come, to cores that were idle meanwhile. That alone makes each take longer.
const PACED: u32 = 300;
const PACE: Duration = Duration::from_millis(1);

/// About a small command or its answer with its frame.
const PING_BYTES: usize = 64;

/// How long throughput is measured.
const THROUGHPUT: Duration = Duration::from_millis(500);

/// What loopback is measured with at a time, as the server writes.
const WRITE_BYTES: usize = 256 * 1024;

/// The limits by name, and what each run saw of them.
#[derive(Debug, Default)]
pub struct Limits(Runs);

impl Limits {
    /// Measures them once more. A commit of the scenario had so many records of so many bytes.
    ///
    /// # Errors
    /// When the disk or loopback cannot be used.
    pub fn measure(&mut self, dir: &Path, records: u64, record_bytes: usize) -> io::Result<()> {
        let path = dir.join("limits");
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        let small = sync_times(&mut file, 128)?;
        self.add("fdatasync_128_p50_us", quantile(&small, 0.5), "us");
        self.add("fdatasync_128_p99_us", quantile(&small, 0.99), "us");
        self.add("fdatasync_32k_p50_us", quantile(&sync_times(&mut file, 32 * 1024)?, 0.5), "us");
        self.add("bare_file_records_per_s", bare_file(&mut file, records, record_bytes)?, "1/s");
        self.add("paced_p50_us", quantile(&paced(&mut file)?, 0.5), "us");
        std::fs::remove_file(path)?;
        let pings = pingpong()?;
        self.add("pingpong_p50_us", quantile(&pings, 0.5), "us");
        self.add("pingpong_p99_us", quantile(&pings, 0.99), "us");
        self.add("loopback_bytes_per_s", loopback()?, "bytes/s");
        Ok(())
    }

    fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.0.add(name, value, unit);
    }

    /// Over all runs.
    pub fn figures(self) -> Figures {
        self.0.figures()
    }
}

/// The sum of some limits' medians: what a way that takes them one after the other takes at least.
pub fn sum(limits: &Figures, names: [&str; 2]) -> f64 {
    names.iter().map(|name| limits[name].median).sum()
}

/// How long each append with its fdatasync takes, in microseconds, in order of size.
fn sync_times(file: &mut File, bytes: usize) -> io::Result<Vec<f64>> {
    let data = vec![0x5a; bytes];
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&data)?;
        file.sync_data()?;
        times.push(micros(started));
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times)
}

/// Records a second in a file of nothing but records, with an fdatasync after as many as a commit had.
fn bare_file(file: &mut File, records: u64, record_bytes: usize) -> io::Result<f64> {
    let data = vec![0x5a; usize::try_from(records).unwrap_or(usize::MAX).saturating_mul(record_bytes)];
    let (started, mut written) = (Instant::now(), 0);
    while started.elapsed() < THROUGHPUT {
        file.write_all(&data)?;
        file.sync_data()?;
        written += records;
    }
    Ok(written as f64 / started.elapsed().as_secs_f64())
}

/// A connection over loopback with nobody else in between: both ends.
fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = TcpStream::connect(listener.local_addr()?)?;
    let (there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    Ok((here, there))
}

/// How long a message takes to another thread and back, in microseconds, in order of size.
fn pingpong() -> io::Result<Vec<f64>> {
    echoed(|there_and_back| {
        (0..PINGS)
            .map(|_| {
                let started = Instant::now();
                there_and_back()?;
                Ok(micros(started))
            })
            .collect()
    })
}

/// How long an append of 128 bytes with its fdatasync takes, and then a message to another thread and back, at the pace, in
/// microseconds, in order of size.
fn paced(file: &mut File) -> io::Result<Vec<f64>> {
    let (data, begun) = (vec![0x5a; 128], Instant::now());
    echoed(|there_and_back| {
        (0..PACED)
            .map(|at| {
                thread::sleep((begun + PACE * at).saturating_duration_since(Instant::now()));
                let started = Instant::now();
                file.write_all(&data)?;
                file.sync_data()?;
                there_and_back()?;
                Ok(micros(started))
            })
            .collect()
    })
}

/// Times that are measured with a thread at the other end of a connection that sends back what comes, in order of size.
fn echoed(
    measure: impl FnOnce(&mut dyn FnMut() -> io::Result<()>) -> io::Result<Vec<f64>>,
) -> io::Result<Vec<f64>> {
    let (mut here, mut there) = connection()?;
    let echo = thread::spawn(move || {
        let mut message = [0; PING_BYTES];
        // The other end closes in the end.
        while there.read_exact(&mut message).is_ok() && there.write_all(&message).is_ok() {}
    });
    let mut message = [0x5a; PING_BYTES];
    let mut times = measure(&mut || {
        here.write_all(&message)?;
        here.read_exact(&mut message)
    })?;
    drop(here);
    echo.join().map_err(|_| io::Error::other("the echo broke down"))?;
    times.sort_unstable_by(f64::total_cmp);
    Ok(times)
}

/// Bytes a second over loopback, from one thread to another.
fn loopback() -> io::Result<f64> {
    let (mut here, mut there) = connection()?;
    let sink = thread::spawn(move || -> io::Result<u64> { io::copy(&mut there, &mut io::sink()) });
    let (data, started) = (vec![0x5a; WRITE_BYTES], Instant::now());
    while started.elapsed() < THROUGHPUT {
        here.write_all(&data)?;
    }
    drop(here);
    let bytes = sink.join().map_err(|_| io::Error::other("the reader broke down"))??;
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}

fn micros(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_measured_in_each_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut limits = Limits::default();
        (0..2).for_each(|_| limits.measure(dir.path(), 10, 128).unwrap());
        let figures = limits.figures();
        let names: Vec<&str> = figures.keys().copied().collect();
        let expected = [
            "bare_file_records_per_s",
            "fdatasync_128_p50_us",
            "fdatasync_128_p99_us",
            "fdatasync_32k_p50_us",
            "loopback_bytes_per_s",
            "paced_p50_us",
            "pingpong_p50_us",
            "pingpong_p99_us",
        ];
        assert_eq!(names, expected);
        assert!(figures.values().all(|figure| figure.min > 0.0 && figure.min <= figure.max), "{figures:?}");
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "nothing is left");
    }
}
