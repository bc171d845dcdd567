//! The page: what a browser shows of the scheduler, from files that are in the binary.
//!
//! It is a page like any other that asks the API: it has no way in of its own, and says nothing of the cluster by itself, so
//! that it is given without a token. It asks nothing of any other place, and runs nothing but its own files.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use xxhash_rust::xxh3::xxh3_64;

use super::door::Door;
use super::problem::Problem;

/// What the page may load and ask: its own files, and this scheduler.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Where the files are.
pub(super) const FOLDER: &str = "/assets/";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// A file, its type and its bytes.
type Asset = (&'static str, &'static str, &'static [u8]);

macro_rules! assets {
    ($($name:literal: $kind:expr,)*) => {
        &[$(($name, $kind, include_bytes!(concat!("assets/", $name)))),*]
    };
}

const PAGE: Asset = ("", HTML, include_bytes!("assets/index.html"));

const ASSETS: &[Asset] = assets! {
    "api.js": SCRIPT,
    "app.js": SCRIPT,
    "attempts.js": SCRIPT,
    "channel.js": SCRIPT,
    "channels.js": SCRIPT,
    "dialog.js": SCRIPT,
    "dom.js": SCRIPT,
    "elements.js": SCRIPT,
    "figures.js": SCRIPT,
    "follow.js": SCRIPT,
    "format.js": SCRIPT,
    "graph.js": SCRIPT,
    "icon.svg": "image/svg+xml",
    "login.js": SCRIPT,
    "moment.js": SCRIPT,
    "overview.js": SCRIPT,
    "plots.js": SCRIPT,
    "rates.js": SCRIPT,
    "stream.js": SCRIPT,
    "style.css": STYLE,
    "table.js": SCRIPT,
    "task.js": SCRIPT,
    "tasks.js": SCRIPT,
    "travel.js": SCRIPT,
    "vendor/uplot/uPlot.iife.min.js": SCRIPT,
    "vendor/uplot/uPlot.min.css": STYLE,
    "vitals.js": SCRIPT,
    "workers.js": SCRIPT,
};

/// The page and its files: they are no part of the API.
pub(super) fn routes() -> Vec<(&'static str, Method, MethodRouter<Arc<Door>>)> {
    vec![
        ("/", Method::GET, on(MethodFilter::GET, page)),
        ("/assets/{*name}", Method::GET, on(MethodFilter::GET, file)),
    ]
}

/// Whether this is a path of the page, which is open to all.
pub(super) fn has(path: &str) -> bool {
    path == "/" || path.starts_with(FOLDER)
}

async fn page(headers: HeaderMap) -> Response {
    given(&PAGE, &headers)
}

async fn file(name: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Result<Response, Problem> {
    let Path(wanted) = name?;
    match ASSETS.iter().find(|(name, ..)| *name == wanted) {
        Some(asset) => Ok(given(asset, &headers)),
        None => Err(Problem::no_such_path(&format!("{FOLDER}{wanted}"))),
    }
}

/// The file, or nothing where the browser has it: it asks each time, as another version may be in its place.
fn given((_, kind, bytes): &Asset, headers: &HeaderMap) -> Response {
    let tag = format!("\"{:016x}\"", xxh3_64(bytes));
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let tag = HeaderValue::from_str(&tag).expect("digits are text");
    let fixed = |name: HeaderName, value: &'static str| (name, HeaderValue::from_static(value));
    let told = [
        (header::ETAG, tag),
        fixed(header::CONTENT_TYPE, kind),
        fixed(header::CACHE_CONTROL, "no-cache"),
        fixed(header::CONTENT_SECURITY_POLICY, POLICY),
        fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(header::X_FRAME_OPTIONS, "DENY"),
        fixed(header::REFERRER_POLICY, "no-referrer"),
    ];
    match is_known {
        true => (StatusCode::NOT_MODIFIED, told).into_response(),
        false => (told, *bytes).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn text(name: &str) -> &'static str {
        let (.., bytes) = ASSETS.iter().find(|(asset, ..)| *asset == name).expect(name);
        std::str::from_utf8(bytes).expect("text")
    }

    /// The files in a folder of the sources, without those that are for who reads them there.
    fn files(folder: &Path, below: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder.join(below)).unwrap() {
            let name = format!("{below}{}", entry.unwrap().file_name().to_str().unwrap());
            match folder.join(&name).is_dir() {
                true => files(folder, &format!("{name}/"), found),
                false => drop(found.insert(name)),
            }
        }
    }

    #[test]
    fn each_file_is_in_the_binary() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/assets");
        let mut there = BTreeSet::new();
        files(&folder, "", &mut there);
        there.retain(|name| {
            !["index.html", "vendor/uplot/LICENSE", "vendor/uplot/README.md"].contains(&&**name)
        });
        let given: BTreeSet<String> = ASSETS.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(there, given);
    }

    #[test]
    fn what_a_file_loads_is_there_and_nothing_is_elsewhere() {
        let page = std::str::from_utf8(PAGE.2).unwrap();
        for part in page.split('"').filter(|part| part.starts_with('/')) {
            assert!(part.strip_prefix(FOLDER).is_some_and(|name| !text(name).is_empty()), "{part}");
        }
        for (name, ..) in ASSETS.iter().filter(|(name, ..)| name.ends_with(".js") && !name.contains('/')) {
            let lines =
                text(name).lines().filter(|line| line.starts_with("import ") || line.starts_with("} from "));
            for line in lines {
                let loaded = line.split('"').nth(1).and_then(|path| path.strip_prefix("./")).expect(line);
                assert!(!text(loaded).is_empty());
            }
            assert!(!text(name).contains("://"), "{name} names another place");
        }
    }

    #[test]
    fn nothing_is_put_into_the_page_as_html() {
        for (name, ..) in ASSETS.iter().filter(|(name, ..)| name.ends_with(".js") && !name.contains('/')) {
            for way in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "setHTMLUnsafe"]
            {
                assert!(!text(name).contains(way), "{name} has {way}");
            }
            assert!(text(name).lines().count() <= 300, "{name} has two subjects");
        }
    }
}
