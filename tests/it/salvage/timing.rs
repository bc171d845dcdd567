//! How fast it is; run in release, by hand.

use std::time::Instant;

use headwater::log::{Log, Purpose, SledLog, SledOptions};

use crate::engines::{Writer, open_sled};

#[test]
#[ignore = "measures"]
fn timing() {
    let dir = tempfile::tempdir_in(std::env::var("HEADWATER_TIMING_DIR").unwrap()).unwrap();
    let dir = dir.path();
    let log = open_sled(dir);
    let mut writer = Writer::begin(&log);
    let began = Instant::now();
    // 10,000,000 records of 128 bytes, 100 a batch.
    for at in 0..100_000u64 {
        log.append(&writer.commit_padded(&[((at % 10) as u32, &[true; 100])], 125)).unwrap();
        if at % 50 == 0 {
            log.flush().unwrap();
        }
    }
    log.flush().unwrap();
    drop(log);
    let length = std::fs::metadata(dir.join("store/db")).unwrap().len();
    eprintln!("written in {:?}, {} MiB", began.elapsed(), length >> 20);
    let options = SledOptions { purpose: Purpose::Serve, ..SledOptions::default() };
    for name in ["first start, no index", "second start"] {
        let began = Instant::now();
        let (log, opened) = SledLog::open(dir, options).unwrap();
        eprintln!("{name}: {:?} {:?}", began.elapsed(), opened.damage);
        drop(log);
    }
    let began = Instant::now();
    let repair = SledLog::repair(dir, true).unwrap().unwrap();
    eprintln!("salvage: {:?}, {} batches, {} records", began.elapsed(), repair.batches, repair.records);
    super::damage::zero(dir, length / 2, 65536);
    std::fs::remove_file(dir.join("store/conf")).unwrap();
    let began = Instant::now();
    let (_, opened) = SledLog::open(dir, options).unwrap();
    eprintln!("salvage at a start: {:?} {:?}", began.elapsed(), opened.damage);
}
