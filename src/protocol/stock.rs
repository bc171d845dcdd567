//! The resources of a worker, and how much of each attempts have. Never more than there is is granted; more may be had
//! where a worker comes back with less, or while one that has paused waits for what others have: then it is granted to nobody
//! until there is enough again. The scheduler grants from it, and the worker sees by it who may begin and who may return.

use super::equipment::{Amount, Grant, Need, Resource, ResourceName, Supply};

/// What a worker has, in the order in which it says it, and how much of that is granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stock(Vec<Shelf>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Shelf {
    name: ResourceName,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Sum {
        total: Amount,
        granted: Amount,
    },
    /// Each one, and how much of it is granted.
    Each(Vec<(Box<str>, Amount)>),
}

impl Stock {
    /// All of this, and nothing granted.
    pub fn new(resources: &[Resource]) -> Self {
        let shelf = |Resource { name, supply }: &Resource| {
            let kind = match supply {
                Supply::Sum(total) => Kind::Sum { total: *total, granted: Amount(0) },
                Supply::Each(ones) => Kind::Each(ones.iter().map(|one| (one.clone(), Amount(0))).collect()),
            };
            Shelf { name: name.clone(), kind }
        };
        Stock(resources.iter().map(shelf).collect())
    }

    /// How much of each is free, in their order.
    pub fn free(&self) -> Vec<Amount> {
        self.0.iter().map(|shelf| shelf.kind.free()).collect()
    }

    /// How much of a resource is free.
    pub fn free_of(&self, name: &ResourceName) -> Amount {
        self.shelf(name).map_or(Amount(0), |shelf| shelf.kind.free())
    }

    /// How much of a resource there is, granted or not.
    pub fn total_of(&self, name: &ResourceName) -> Amount {
        self.shelf(name).map_or(Amount(0), |shelf| match &shelf.kind {
            Kind::Sum { total, .. } => *total,
            Kind::Each(ones) => Amount::whole(ones.len() as u64),
        })
    }

    /// What would be granted for this now; nothing when some of it is not free.
    pub fn fit(&self, needs: &[Need]) -> Option<Vec<Grant>> {
        let grant = |need: &Need| {
            let parts = self.shelf(&need.resource)?.kind.parts(need.amount)?;
            Some(Grant { resource: need.resource.clone(), amount: need.amount, parts })
        };
        needs.iter().map(grant).collect()
    }

    /// Whether these very parts are free.
    pub fn has(&self, grants: &[Grant]) -> bool {
        // What is not there binds nobody: an attempt may have it from before its worker came back without.
        grants.iter().all(|grant| self.shelf(&grant.resource).is_none_or(|shelf| shelf.kind.has(grant)))
    }

    /// This is granted.
    pub fn grant(&mut self, grants: &[Grant]) {
        self.change(grants, Amount::more);
    }

    /// This is free again.
    pub fn give_back(&mut self, grants: &[Grant]) {
        self.change(grants, Amount::less);
    }

    fn shelf(&self, name: &ResourceName) -> Option<&Shelf> {
        self.0.iter().find(|shelf| shelf.name == *name)
    }

    fn change(&mut self, grants: &[Grant], change: impl Fn(Amount, Amount) -> Amount) {
        for grant in grants {
            // A worker may have come back without it.
            let Some(shelf) = self.0.iter_mut().find(|shelf| shelf.name == grant.resource) else { continue };
            match &mut shelf.kind {
                Kind::Sum { granted, .. } => *granted = change(*granted, grant.amount),
                Kind::Each(ones) => {
                    for (name, amount) in &grant.parts {
                        let one = ones.iter_mut().find(|(one, _)| one == name);
                        one.into_iter().for_each(|(_, granted)| *granted = change(*granted, *amount));
                    }
                }
            }
        }
    }
}

impl Kind {
    fn free(&self) -> Amount {
        match self {
            Kind::Sum { total, granted } => total.less(*granted),
            Kind::Each(ones) => {
                ones.iter().fold(Amount(0), |free, (_, granted)| free.more(Amount::ONE.less(*granted)))
            }
        }
    }

    fn has(&self, grant: &Grant) -> bool {
        let Kind::Each(ones) = self else { return self.free() >= grant.amount };
        let is_free = |(name, amount): &(Box<str>, Amount)| {
            let one = ones.iter().find(|(one, _)| one == name);
            one.is_none_or(|(_, granted)| Amount::ONE.less(*granted) >= *amount)
        };
        grant.parts.iter().all(is_free)
    }

    /// Which ones, and how much of each, would be granted for so much. Whole ones of those that nobody has any of, the first
    /// first; a rest of the one with the least that suffices, so that whole ones stay whole.
    fn parts(&self, amount: Amount) -> Option<Vec<(Box<str>, Amount)>> {
        let Kind::Each(ones) = self else { return (self.free() >= amount).then(Vec::new) };
        let (whole, rest) = amount.split();
        let untouched = ones.iter().filter(|(_, granted)| *granted == Amount(0));
        let mut parts: Vec<_> =
            untouched.take(whole as usize).map(|(one, _)| (one.clone(), Amount::ONE)).collect();
        if parts.len() as u64 != whole {
            return None;
        }
        if rest > Amount(0) {
            let free = |granted: &Amount| Amount::ONE.less(*granted);
            let others = ones.iter().filter(|(one, granted)| {
                free(granted) >= rest && parts.iter().all(|(taken, _)| taken != one)
            });
            let (one, _) = others.min_by_key(|(_, granted)| free(granted))?;
            parts.push((one.clone(), rest));
        }
        Some(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stock(resources: &[&str]) -> Stock {
        Stock::new(&resources.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }

    /// Grants what is needed, if it is free, and shows it.
    fn take(stock: &mut Stock, needs: &[&str]) -> Option<(Vec<Grant>, String)> {
        let needs: Vec<Need> = needs.iter().map(|text| text.parse().unwrap()).collect();
        let grants = stock.fit(&needs)?;
        stock.grant(&grants);
        let shown = grants.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        Some((grants, shown))
    }

    #[test]
    fn what_is_granted_is_free_no_more_until_it_is_given_back() {
        let mut stock = stock(&["cpus=4", "memory=1GiB"]);
        let (first, _) = take(&mut stock, &["cpus=2.5", "memory=512MiB"]).unwrap();
        assert_eq!(take(&mut stock, &["cpus=2"]), None);
        assert_eq!(take(&mut stock, &["cpus=1", "gpus=1"]), None, "it has none of these");
        assert!(take(&mut stock, &["cpus=1.5"]).is_some(), "nothing was taken by what did not fit");
        assert_eq!(stock.free(), [Amount(0), Amount::whole(512 << 20)]);
        stock.give_back(&first);
        assert_eq!(stock.free()[0], Amount(25_000));
    }

    #[test]
    fn whole_ones_stay_whole_as_long_as_they_can() {
        let mut stock = stock(&["gpus=[a,b,c]"]);
        let mut shown = |need| take(&mut stock, &[need]).map(|(_, shown)| shown);
        assert_eq!(shown("gpus=0.5").unwrap(), "gpus=0.5 (a)");
        assert_eq!(shown("gpus=0.3").unwrap(), "gpus=0.3 (a)");
        assert_eq!(shown("gpus=0.3").unwrap(), "gpus=0.3 (b)", "it is not in what is left of the first");
        assert_eq!(shown("gpus=0.2").unwrap(), "gpus=0.2 (a)");
        assert_eq!(shown("gpus=2"), None, "1.7 are left, one of them whole");
        assert_eq!(shown("gpus=1.5").unwrap(), "gpus=1.5 (c,b)");
        assert_eq!(shown("gpus=0.3"), None, "0.2 are left");
        assert_eq!(shown("gpus=0.2").unwrap(), "gpus=0.2 (b)");
    }

    #[test]
    fn the_very_parts_are_free_or_not() {
        let mut stock = stock(&["cpus=4", "gpus=[a,b]"]);
        let (mine, _) = take(&mut stock, &["cpus=3", "gpus=0.5"]).unwrap();
        stock.give_back(&mine);
        assert!(stock.has(&mine) && stock.has(&[]));
        let (_, shown) = take(&mut stock, &["gpus=0.4"]).unwrap();
        assert_eq!((&*shown, stock.has(&mine)), ("gpus=0.4 (a)", true));
        let (more, _) = take(&mut stock, &["gpus=0.2"]).unwrap();
        assert!(!stock.has(&mine), "0.4 of it are left, and the other one is not it");
        stock.give_back(&more);
        assert!(stock.has(&mine));
        take(&mut stock, &["cpus=2"]).unwrap();
        assert!(!stock.has(&mine));
    }

    #[test]
    fn a_worker_that_comes_back_with_less_gets_no_more_for_now() {
        let mut before = stock(&["cpus=4", "gpus=[a,b]"]);
        let (first, _) = take(&mut before, &["cpus=3", "gpus=2"]).unwrap();
        let mut stock = stock(&["cpus=2", "gpus=[b,c]"]);
        stock.grant(&first);
        assert_eq!(stock.free(), [Amount(0), Amount::ONE], "the one that it had not before");
        stock.give_back(&first);
        assert_eq!(stock.free(), [Amount::whole(2), Amount::whole(2)]);
    }
}
