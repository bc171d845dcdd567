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
    // A picture in it, which has no origin; a link in it may be followed.
    let picture = ["-H", "Sec-Fetch-Site: cross-site", "-H", "Sec-Fetch-Dest: image"];
    let (status, told) = site.ask(&picture, "/api/v1/overview?at=0").await;
    assert_eq!((status, told["error"]["code"].as_str()), (403, Some("foreign")));
    let link = ["-H", "Sec-Fetch-Site: cross-site", "-H", "Sec-Fetch-Dest: document"];
    assert_eq!(site.ask_text(&link, "/").await.0, 200);
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
async fn who_comes_in_by_the_page_has_a_cookie_that_is_as_good_as_the_token() {
    let dir = crate::cluster::Dir::new();
    std::fs::write(dir.path("token"), "secret\n").unwrap();
    let mut site = Site::start(&["--token-file", &dir.text("token")]).await;
    for path in ["/", "/assets/app.js"] {
        assert_eq!(site.ask_text(&[], path).await.0, 200, "the page itself says nothing of the cluster");
    }
    let (status, told) = site.post(r#"{"token": "secre"}"#, "/login").await;
    assert_eq!((status, told["error"]["code"].as_str()), (401, Some("wrong_token")));
    let own = format!("Origin: {}", site.url);
    let foreign = ["-H", "Origin: https://evil.example"];
    let json = ["-H", "Content-Type: application/json", "-d"];
    let (status, _) = site.ask(&[&json[..], &[r#"{"token": "secret"}"#], &foreign].concat(), "/login").await;
    assert_eq!(status, 403);
    let show = ["-i", "-H", &own];
    let (status, told) =
        site.ask_text(&[&show[..], &json, &[r#"{"token": "secret"}"#]].concat(), "/login").await;
    let cookie =
        told.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie comes with it");
    assert!(status == 200 && cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"), "{told}");
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let shown = ["-H", cookie.as_str()];
    assert_eq!(site.ask(&shown, "/api/v1/overview").await.0, 200);
    let append = [&shown[..], &json, &["1"]].concat();
    let values = "/api/v1/channels/a/values";
    assert_eq!(site.ask(&[&append[..], &["-H", &own]].concat(), values).await.0, 201);
    assert_eq!(site.ask(&[&append[..], &foreign].concat(), values).await.0, 403);
    let events = [&shown[..], &["-H", "Accept: text/event-stream"]].concat();
    let (_, told) = site.ask_text(&events, "/api/v1/channels/a/records?until=now").await;
    assert!(told.contains("event: record"), "{told}");
    // It is none of another port, and holds over a restart.
    let other = cookie.replacen("headwater-", "headwater-1", 1);
    assert_eq!(site.ask(&["-H", &other], "/api/v1/overview").await.0, 401);
    site.kill().await;
    site.start_again().await;
    assert_eq!(site.ask(&shown, "/api/v1/overview").await.0, 200);
    let (_, told) = site.ask_text(&["-i", "-X", "POST"], "/logout").await;
    assert!(
        told.lines().any(|line| line.starts_with("set-cookie: ") && line.ends_with("; Max-Age=0")),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_tokens_is_told_to_wait_and_nobody_else_is() {
    for (token, there) in [("secret", 429), ("a secret that is long enough", 200)] {
        let dir = crate::cluster::Dir::new();
        std::fs::write(dir.path("token"), token).unwrap();
        // Where several addresses of this machine reach it.
        let site = Site::start_at("0.0.0.0:0", &["--token-file", &dir.text("token")]).await;
        let right = format!("Authorization: Bearer {token}");
        let overview = "/api/v1/overview";
        // By any of the three ways.
        for guess in 0..10 {
            let shown = match guess % 3 {
                0 => site.post(&format!(r#"{{"token": "{guess}"}}"#), "/login").await,
                1 => site.ask(&["-H", &format!("Authorization: Bearer {guess}")], overview).await,
                _ => {
                    let port = site.url.rsplit(':').next().unwrap();
                    site.ask(&["-H", &format!("Cookie: headwater-{port}={guess}")], overview).await
                }
            };
            assert_eq!(shown.0, 401, "{guess}: {}", shown.1);
        }
        let (status, told) = site.ask_text(&["-i", "-H", "Authorization: Bearer x"], overview).await;
        let wait = told.lines().find_map(|line| line.strip_prefix("retry-after: ")).expect("it says when");
        assert!(status == 429 && (1..=6).contains(&wait.parse::<u64>().unwrap()), "{told}");
        assert!(told.contains(r#""code":"too_many_tries""#) && told.contains("Retry-After"), "{told}");
        assert_eq!(site.post(r#"{"token": "y"}"#, "/login").await.0, 429);
        assert_eq!(site.ask(&["-H", &right], overview).await.0, there, "{token}");
        // What was wrong before is no guess, and neither is none.
        assert_eq!(site.ask(&["-H", "Authorization: Bearer 1"], overview).await.0, 401);
        assert_eq!(site.ask(&[], overview).await.0, 401);
        assert_eq!(site.ask(&["--interface", "127.0.0.2", "-H", &right], overview).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_may_load_nothing_from_elsewhere_and_is_sent_once() {
    let site = Site::start(&[]).await;
    let (_, told) = site.ask_text(&["-i"], "/").await;
    let has = |name: &str| told.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).expect(name);
    assert!(has("content-type").starts_with("text/html"));
    let policy = has("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!((has("x-content-type-options"), has("x-frame-options")), ("nosniff", "DENY"));
    assert_eq!(has("cache-control"), "no-cache");
    let known = format!("If-None-Match: {}", has("etag"));
    assert_eq!(site.ask_text(&["-H", &known], "/").await, (304, String::new()));
    assert_eq!(site.ask_text(&["-H", &known], "/assets/app.js").await.0, 200);
    let (status, told) = site.ask(&[], "/assets/../Cargo.toml").await;
    assert_eq!((status, told["error"]["code"].as_str()), (404, Some("unknown_path")));
    assert_eq!(site.ask(&["--path-as-is"], "/assets/../../Cargo.toml").await.0, 404);
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
