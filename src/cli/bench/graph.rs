//! Graphs of tasks: what shapes there are, and how one client submits them.

use std::pin::{Pin, pin};

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::workers::{argument, noop, sum};
use crate::client::{Client, Error, Result, TaskFuture};
use crate::protocol::limits::{ARGUMENTS_MAX, IN_FLIGHT_MAX};

/// Tasks of a chain.
const CHAIN_TASKS: usize = 10;

/// How many results a task of a fan takes unless told otherwise: as many as it gets without others that put them together.
const FAN_WIDTH: u64 = ARGUMENTS_MAX as u64;

/// The most tasks of which one takes the results: a million.
pub const WIDTH_MAX: u64 = 1_000_000;

/// Which tasks need the results of which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// None needs another's
    Independent,
    /// Chains of 10, in which each needs the one before
    Chain,
    /// One task takes the results of `--width` others (64 unless given), and many such beside each other
    Fan,
    /// A reduction: one task takes the results of `--width` others (2 unless given), one those of as many such, up to a
    /// single one
    Tree,
}

impl Shape {
    /// How many results a task takes unless told otherwise, where that can be told.
    pub fn width(self) -> Option<u64> {
        match self {
            Shape::Independent | Shape::Chain => None,
            Shape::Fan => Some(FAN_WIDTH),
            Shape::Tree => Some(2),
        }
    }
}

/// How many tasks there are on each level, and how many results of the level below each of them takes. Those of the lowest
/// take a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    pub shape: Shape,
    pub width: u64,
    levels: Vec<u64>,
}

impl Graph {
    /// The largest of a shape that has no more than so many tasks; at least the smallest of all.
    pub fn of(shape: Shape, tasks: u64, width: Option<u64>) -> Graph {
        let width = width.or(shape.width()).unwrap_or(1);
        let with = |leaves| Graph { shape, width, levels: levels(shape, leaves, width) };
        let (mut fits, mut over) = (1, tasks + 1);
        while over - fits > 1 {
            let leaves = fits + (over - fits) / 2;
            match with(leaves).tasks() <= tasks {
                true => fits = leaves,
                false => over = leaves,
            }
        }
        with(fits)
    }

    /// How many tasks it has.
    pub fn tasks(&self) -> u64 {
        self.levels.iter().sum()
    }

    /// What it is called beside others.
    pub fn name(&self) -> String {
        let (tasks, width) = (self.tasks(), self.width);
        match self.shape {
            Shape::Independent => format!("{tasks} tasks"),
            Shape::Chain => format!("{tasks} tasks, chains of {CHAIN_TASKS}"),
            Shape::Fan => format!("{tasks} tasks, {width} to 1"),
            Shape::Tree => format!("{tasks} tasks, a tree of {width} to 1"),
        }
    }

    /// Submits it, level by level, each with as many submissions on their way as a session may have, and waits for all
    /// results. Answers the futures: they are held until they are dropped.
    ///
    /// # Errors
    /// Also when the results are wrong.
    pub async fn run(&self, client: &Client) -> Result<Vec<TaskFuture<u64>>> {
        let (mut held, mut below) = (Vec::new(), Vec::new());
        let (mut results, mut sum) = (FuturesUnordered::new(), 0_u64);
        let result = async |future: TaskFuture<u64>, is_last| Ok::<_, Error>((future.await?, is_last));
        for (level, count) in self.levels.iter().enumerate() {
            let is_last = level + 1 == self.levels.len();
            let mut submitted = Vec::new();
            {
                let submit = |number| self.submit(client, number, &below);
                let mut submitting =
                    pin!(stream::iter(0..*count).map(submit).buffered(IN_FLIGHT_MAX as usize));
                loop {
                    tokio::select! {
                        future = submitting.next() => {
                            let Some(future) = future.transpose()? else { break };
                            results.push(result(future.clone(), is_last));
                            submitted.push(future);
                        }
                        Some(result) = results.next() => add(&mut sum, result?),
                    }
                }
            }
            held.append(&mut std::mem::replace(&mut below, submitted));
        }
        while let Some(result) = results.next().await {
            add(&mut sum, result?);
        }
        held.append(&mut below);
        let expected = (0..self.levels[0]).map(argument).fold(0, u64::wrapping_add);
        match sum == expected {
            true => Ok(held),
            false => Err(Error::msg(format!("the tasks brought {sum} in all, not {expected}"))),
        }
    }

    /// Submits a task that takes its share of the results of the level below, or a number on the lowest.
    fn submit(&self, client: &Client, number: u64, below: &[TaskFuture<u64>]) -> Submitting {
        if below.is_empty() {
            return client.submit(noop, (argument(number),)).into_future();
        }
        let share = below.chunks(self.width as usize).nth(number as usize).unwrap_or_default();
        client.submit(sum, (share,)).into_future()
    }
}

type Submitting = Pin<Box<dyn Future<Output = Result<TaskFuture<u64>>> + Send>>;

/// Adds what a task has brought, if it is one of the last level: that has it all.
fn add(sum: &mut u64, (result, is_last): (u64, bool)) {
    if is_last {
        *sum = sum.wrapping_add(result);
    }
}

fn levels(shape: Shape, leaves: u64, width: u64) -> Vec<u64> {
    match shape {
        Shape::Independent => vec![leaves],
        Shape::Chain => vec![leaves; CHAIN_TASKS],
        Shape::Fan => vec![leaves, leaves.div_ceil(width)],
        Shape::Tree => {
            let above = |below: &u64| (*below > 1).then(|| below.div_ceil(width));
            std::iter::successors(Some(leaves), above).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels_of(shape: Shape, tasks: u64, width: Option<u64>) -> Vec<u64> {
        Graph::of(shape, tasks, width).levels
    }

    #[test]
    fn a_graph_has_so_many_tasks_and_no_more() {
        assert_eq!(levels_of(Shape::Independent, 7, None), [7]);
        assert_eq!(levels_of(Shape::Chain, 1_000_000, None), [100_000; 10]);
        assert_eq!(levels_of(Shape::Chain, 29, None), [2; 10]);
        assert_eq!(levels_of(Shape::Fan, 130, None), [128, 2]);
        assert_eq!(levels_of(Shape::Fan, 12, Some(10)), [10, 1]);
        assert_eq!(levels_of(Shape::Tree, 15, None), [8, 4, 2, 1]);
        assert_eq!(levels_of(Shape::Tree, 111, Some(10)), [100, 10, 1]);
        for shape in [Shape::Independent, Shape::Chain, Shape::Fan, Shape::Tree] {
            for tasks in 10..500 {
                let graph = Graph::of(shape, tasks, None);
                assert!(graph.tasks() <= tasks && graph.tasks() + 10 > tasks, "{graph:?} of {tasks}");
            }
        }
    }

    #[test]
    fn the_smallest_of_a_shape_is_whole() {
        assert_eq!(levels_of(Shape::Chain, 1, None), [1; 10]);
        assert_eq!(levels_of(Shape::Tree, 1, None), [1]);
        assert_eq!(levels_of(Shape::Fan, 1, None), [1, 1]);
    }
}
