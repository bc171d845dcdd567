//! Who is let in, and what is told to those who are not, or ask for what is not there.

use super::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_site_is_refused_where_there_is_no_token() {
    let site = Site::start(&[]).await;
    let run = ["-H", "Content-Type: application/json", "-d", r#"{"command": ["true"]}"#];
    for origin in ["https://evil.example", "null", "https://évil.example"] {
        let foreign = ["-H", &format!("Origin: {origin}")];
        let (status, told) = site.ask(&[&run[..], &foreign].concat(), "/api/v1/tasks").await;
        assert_eq!((status, told["error"]["code"].as_str()), (403, Some("foreign")), "{origin}");
    }
    // One whose own name resolves here.
    let rebound = ["-H", "Host: evil.example"];
    for options in [&rebound[..], &[&run[..], &rebound].concat()] {
        let (status, told) = site.ask(options, "/api/v1/tasks").await;
        assert_eq!((status, told["error"]["code"].as_str()), (403, Some("foreign")), "{told}");
    }
    // A form, which a browser sends without asking.
    let (status, told) = site.ask(&["-d", r#"{"command": ["true"]}"#], "/api/v1/tasks").await;
    assert_eq!((status, told["error"]["code"].as_str()), (415, Some("media_type")));
    assert_eq!(site.ask(&[], "/api/v1/tasks").await.1["tasks"].as_array().unwrap().len(), 0);
    let own = format!("Origin: {}", site.url);
    assert_eq!(site.ask(&[&run[..], &["-H", &own]].concat(), "/api/v1/tasks").await.0, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_token_who_shows_it_is_let_in() {
    let dir = crate::cluster::Dir::new();
    std::fs::write(dir.path("token"), "secret\n").unwrap();
    let site = Site::start(&["--token-file", &dir.text("token")]).await;
    for options in [&[][..], &["-H", "Authorization: Bearer secre"], &["-H", "Authorization: secret"]] {
        let (status, told) = site.ask(options, "/api/v1/overview").await;
        assert_eq!((status, told["error"]["code"].as_str()), (401, Some("unauthorized")));
    }
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(site.ask(&[], path).await.0, 200);
    }
    let shown = ["-H", "Authorization: Bearer secret"];
    assert_eq!(site.ask(&shown, "/api/v1/overview").await.1["workers"], 1);
    // A name is as good as an address then.
    assert_eq!(
        site.ask(&[&shown[..], &["-H", "Host: cluster.example"]].concat(), "/api/v1/overview").await.0,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_told_and_so_is_what_is_too_large() {
    let site = Site::start(&[]).await;
    let code = |told: &serde_json::Value| told["error"]["code"].as_str().unwrap().to_owned();
    let (status, told) = site.ask(&[], "/api/v2").await;
    assert_eq!((status, code(&told).as_str()), (404, "unknown_path"));
    let (status, told) = site.ask(&["-X", "DELETE"], "/api/v1/tasks").await;
    assert_eq!((status, code(&told).as_str()), (405, "unknown_method"));
    std::fs::write(site.dir.path("large"), vec![b' '; (1 << 20) + 1]).unwrap();
    let body = format!("@{}", site.dir.text("large"));
    let (status, told) = site.post(&body, "/api/v1/channels/a/values").await;
    assert_eq!((status, code(&told).as_str()), (413, "too_large"), "{told}");
    for key in ["sensor", "sensor/", "/7x"] {
        let options =
            ["-H", &format!("Idempotency-Key: {key}"), "-H", "Content-Type: application/json", "-d", "1"];
        assert_eq!(site.ask(&options, "/api/v1/channels/a/values").await.0, 400, "{key}");
    }
}
