//! What a task asks of the worker that runs it, beside the function: taken from its terms once, and one for all tasks that
//! ask for the same.

use std::sync::Arc;

use crate::protocol::equipment::{Need, Target};
use crate::protocol::session::FunctionOffer;
use crate::protocol::terms::Terms;

/// What a task asks of its worker. Tasks that ask for the same wait in one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Demand {
    /// The function.
    pub function: Arc<FunctionOffer>,
    /// The resources, by name.
    pub needs: Box<[Need]>,
    /// Where it may run.
    pub on: Box<[Target]>,
    /// Where it runs rather than on others.
    pub prefers: Box<[Target]>,
}

impl Demand {
    /// What a task under these terms asks for, if it is anything beside the function.
    pub fn of(function: &Arc<FunctionOffer>, terms: &Terms) -> Option<Demand> {
        let mut needs: Box<[Need]> = terms.needs().cloned().collect();
        let (mut on, mut prefers): (Box<[Target]>, Box<[Target]>) =
            (terms.on().cloned().collect(), terms.prefers().cloned().collect());
        if needs.is_empty() && on.is_empty() && prefers.is_empty() {
            return None;
        }
        needs.sort();
        on.sort();
        prefers.sort();
        Some(Demand { function: function.clone(), needs, on, prefers })
    }
}
