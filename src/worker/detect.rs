//! What the machine has that tasks may need: cores, memory, GPUs, and its name.

use std::fs;

use crate::protocol::equipment::{Amount, Equipment, Resource, ResourceName, Supply};

/// What this process may use of its machine, as far as the system says: `cpus` as many as it may run on, `memory` in bytes,
/// as much as there is or as its control group may have, and `gpus`, told apart by number: those that
/// `CUDA_VISIBLE_DEVICES` names, or that NVIDIA's driver has. Without labels.
pub fn equipment() -> Equipment {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = resource("cpus", Supply::Sum(Amount::whole(cores as u64)));
    let memory = memory_bytes().map(|bytes| resource("memory", Supply::Sum(Amount::whole(bytes))));
    let gpus = Some(gpus()).filter(|gpus| !gpus.is_empty()).map(|gpus| resource("gpus", Supply::Each(gpus)));
    let resources = [Some(cpus), memory, gpus].into_iter().flatten().collect();
    Equipment { host: host(), labels: Vec::new(), resources }
}

fn resource(name: &str, supply: Supply) -> Resource {
    Resource { name: ResourceName::new(name).expect("a name of letters"), supply }
}

fn memory_bytes() -> Option<u64> {
    let all = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
    all.into_iter().chain(limit).min()
}

/// The `MemTotal` of `/proc/meminfo`, in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn gpus() -> Vec<Box<str>> {
    if let Ok(visible) = std::env::var("CUDA_VISIBLE_DEVICES") {
        return visible_in(&visible);
    }
    let driver = fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, |entries| entries.flatten().count());
    (0..driver).map(|number| number.to_string().into()).collect()
}

/// The devices that `CUDA_VISIBLE_DEVICES` names: CUDA takes none behind the first that is no device.
fn visible_in(visible: &str) -> Vec<Box<str>> {
    let named = visible.split(',').map(str::trim);
    let mut devices: Vec<Box<str>> = Vec::new();
    for name in named.take_while(|name| !name.is_empty() && *name != "-1" && *name != "NoDevFiles") {
        if !devices.iter().any(|known| **known == *name) {
            devices.push(name.into());
        }
    }
    devices
}

#[cfg(unix)]
fn host() -> Box<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}

#[cfg(not(unix))]
fn host() -> Box<str> {
    std::env::var("COMPUTERNAME").unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_can_be_offered() {
        let found = equipment();
        assert_eq!(found.check(), Ok(()));
        assert_eq!(found.resources[0].name.as_str(), "cpus");
        assert!(cfg!(not(target_os = "linux")) || !found.host.is_empty());
    }

    #[test]
    fn memory_and_devices_are_read_as_the_system_writes_them() {
        assert_eq!(
            total_of("MemFree: 1 kB\nMemTotal:       24577236 kB\nX: 2 kB\n"),
            Some(24_577_236 * 1024)
        );
        assert_eq!((total_of(""), total_of("MemTotal: much")), (None, None));
        assert_eq!(visible_in("0, 2,0"), ["0".into(), "2".into()]);
        assert_eq!(visible_in("GPU-1,-1,3"), ["GPU-1".into()]);
        assert!(visible_in("").is_empty() && visible_in("NoDevFiles").is_empty());
    }
}
