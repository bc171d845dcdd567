//! Damaged stores, on real files: what starts make of them, and what they tell.

mod damage;
mod kills;
mod kinds;
mod serve;
mod steps;
mod store;
