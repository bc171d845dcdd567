//! The dashboard, in a real browser: a headless Chromium that each test starts and ends, at a scheduler of its own.
//!
//! Chromium must be there: `apt-get install -y --no-install-recommends chromium`, or `HEADWATER_CHROMIUM` says where.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod asks;
mod chromium;
mod fits;
mod hostile;
mod lasts;
mod logs_in;
#[allow(dead_code)]
#[path = "../cli/process.rs"]
mod process;
mod screenshots;
mod shows;
mod site;
mod travels;

use chromium::Page;
use site::Site;
