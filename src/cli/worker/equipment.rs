//! What workers have that tasks may need, and by which tasks choose them: for `worker` and `up`.

use std::ffi::OsString;

use crate::protocol::equipment::{Amount, Equipment, Label, Resource};
use crate::worker::detect;

#[derive(Debug, Clone, clap::Args)]
pub struct Machine {
    /// What it has of a resource that tasks may need: cpus=4, memory=16GiB, or told apart: gpus=[0,1]
    ///
    /// Attempts that need some of it are given no more, together, than there is. cpus, memory and gpus are found by
    /// themselves where nothing is said of them, gpus=0 offers none; several workers of one `up` have a part each.
    #[arg(long = "resource", value_name = "NAME=AMOUNT")]
    resources: Vec<Resource>,

    /// Offer none of the machine's resources but those that are given
    #[arg(long)]
    no_detect: bool,

    /// A word by which tasks choose it: submit --on label=WORD; given several times, several words
    #[arg(long = "label", value_name = "WORD")]
    labels: Vec<Label>,

    /// The name of its machine, by which tasks choose it: submit --on host=NAME; the machine's own unless given
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
}

impl Machine {
    /// What is given, and what is found beside it.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn equipment(&self) -> anyhow::Result<Equipment> {
        let mut equipment = detect::equipment();
        if self.no_detect {
            equipment.resources.clear();
        }
        equipment.resources.retain(|found| self.resources.iter().all(|given| given.name != found.name));
        let given = self.resources.iter().filter(|given| given.supply.total() > Amount(0));
        equipment.resources.extend(given.cloned());
        equipment.labels.extend(self.labels.iter().cloned());
        self.host.iter().for_each(|host| equipment.host = host.as_str().into());
        equipment.check()?;
        Ok(equipment)
    }
}

/// Equipment as options for another worker, which is to have just that.
pub fn arguments(equipment: &Equipment) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--no-detect".into(), "--host".into(), (&*equipment.host).into()];
    let option = |name: &str, value: String| [OsString::from(name), value.into()];
    arguments.extend(equipment.labels.iter().flat_map(|label| option("--label", label.to_string())));
    let resources = equipment.resources.iter();
    arguments.extend(resources.flat_map(|resource| option("--resource", resource.to_string())));
    arguments
}
