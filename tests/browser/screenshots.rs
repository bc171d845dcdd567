//! The pictures of the docs: `cargo test --test browser -- --ignored pictures`.

use crate::{Page, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it writes to docs/dashboard"]
async fn pictures_of_a_running_demo() {
    let site = Site::demo_with("400ms").await;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dashboard");
    std::fs::create_dir_all(&folder).unwrap();
    let mut page = Page::open(&site.url).await;
    for (name, place, width, height, scheme, seconds) in [
        ("overview", "#/", 1280, 930, "light", 45),
        ("stream", "#/stream", 1280, 400, "dark", 20),
        ("channel", "#/channel/adds", 1280, 620, "light", 3),
        ("phone", "#/", 390, 844, "dark", 3),
    ] {
        page.size(width, height).await;
        page.scheme(scheme).await;
        page.value(&format!("location.hash = '{place}'")).await;
        page.value(&format!("new Promise((done) => setTimeout(done, {}))", seconds * 1000)).await;
        std::fs::write(folder.join(format!("{name}.png")), page.picture().await).unwrap();
    }
    page.end().await;
}
