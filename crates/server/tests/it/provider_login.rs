//! Logins at an identity provider as a browser sees them.

use mandate_api::registry_file;
use mandate_core::registry::login_key;
use mandate_testkit::app::{self, Answer, App, CALLBACK, CRM, FormPairs, LoginPage, authorization, form};
use mandate_testkit::provider_double::{CLIENT_ID, ProviderDouble, asked};
use serde_json::json;

use crate::login::is_a_safe_page;
use crate::world::Server;

/// The secret of the server at the provider.
const SECRET: &str = "the secret at the provider";

/// A server whose people log in at a provider; `dana` is there `user-7`.
pub(crate) struct Login {
    pub(crate) server: Server,
    provider: ProviderDouble,
}

/// A browser that is at the provider.
pub(crate) struct Away {
    pub(crate) location: String,
    pub(crate) cookie: String,
}

fn entries(provider: &ProviderDouble) -> String {
    let url = provider.issuer.issuer();
    format!(
        r#"
[[issuer]]
url = "{url}"
login = true
client_id = "{CLIENT_ID}"
client_secret_file = "provider.secret"
[[person]]
name = "dana"
issuer = "{url}"
sub = "user-7"
may = [{{ resource = "crm", scopes = ["read:cases"] }}]
"#
    )
}

/// The folder with the server's secret at `provider`.
fn folder(server: &Server, provider: &ProviderDouble) -> std::path::PathBuf {
    server.state_dir().join("login-secrets").join(login_key(&provider.issuer.issuer()))
}

fn keep_secret(server: &Server, provider: &ProviderDouble) {
    let folder = folder(server, provider);
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("provider.secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, private).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
}

impl Login {
    pub(crate) async fn new() -> Self {
        let provider = ProviderDouble::start();
        let server = Server::story().await;
        keep_secret(&server, &provider);
        let text = app::registry(CRM, rustix::process::getuid().as_raw()) + &entries(&provider);
        assert!(registry_file::parse(&text).is_ok());
        server.apply(&text).await;
        Self { server, provider }
    }

    fn app(&self) -> &App {
        &self.server.app
    }

    async fn open(&self) -> LoginPage {
        self.app().open(&authorization(Some(CRM), Some("read:cases"))).await
    }

    async fn choose(&self, page: &LoginPage) -> Answer {
        self.app().submit(page, &page.cookie, &chosen(page)).await
    }

    pub(crate) async fn leave(&self) -> Away {
        let answer = self.choose(&self.open().await).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        Away { location: link(&answer.text), cookie }
    }

    pub(crate) fn give(&self, away: &Away, sub: &str) {
        let now = mandate_core::Clock::now(self.server.clock.as_ref());
        self.provider.give(&self.provider.sign(&self.provider.claims(&away.location, sub, now)));
    }

    /// What the browser is answered that comes back from the provider.
    pub(crate) async fn come_back(&self, away: &Away, cookie: &str) -> Answer {
        let back = asked(&away.location, "redirect_uri");
        let query = [("code", "c"), ("state", &asked(&away.location, "state"))];
        let url = url::Url::parse_with_params(&back, &query).unwrap();
        let request = self.app().http.get(url.as_str()).header("cookie", cookie);
        Answer::of(request.send().await.unwrap()).await
    }
}

/// The form of the page's button.
fn chosen(page: &LoginPage) -> FormPairs {
    let (_, rest) = page.answer.text.split_once("name=\"provider\" value=\"").unwrap();
    let (key, _) = rest.split_once('"').unwrap();
    form(&[("csrf", &page.csrf), ("provider", key)])
}

/// The address of the page's link.
fn link(page: &str) -> String {
    let (_, rest) = page.split_once("<a href=\"").unwrap();
    rest.split_once('"').unwrap().0.replace("&amp;", "&")
}

fn parameter(answer: &Answer, name: &str) -> Option<String> {
    let back = url::Url::parse(answer.header("location")).unwrap();
    back.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_providers_the_login_page_says_nothing_of_them() {
    let server = Server::story().await;
    let before = server.app.open(&authorization(Some(CRM), Some("read:cases"))).await;
    assert!(!before.answer.text.contains("provider"), "{}", before.answer.text);
    assert_eq!(before.answer.text.matches("<form").count(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_presses_the_button_logs_in_elsewhere_and_the_app_gets_its_code() {
    let login = Login::new().await;
    let page = login.open().await;
    is_a_safe_page("the login page", &page.answer);
    let host = login.provider.issuer.issuer().to_string();
    assert!(page.answer.text.contains(&format!("Log in at {host} and allow")), "{}", page.answer.text);

    let left = login.choose(&page).await;
    assert_eq!((left.status, left.header("location")), (200, ""), "a page: form-action allows no redirect");
    is_a_safe_page("the page between", &left);
    let location = link(&left.text);
    let refresh = format!("http-equiv=\"refresh\" content=\"0; url={}\"", location.replace('&', "&amp;"));
    assert!(left.text.contains(&refresh), "{}", left.text);
    let cookie = left.header("set-cookie");
    for part in ["mandate-provider=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=900"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let away = Away { location, cookie: cookie.split(';').next().unwrap().to_owned() };
    for secret in [asked(&away.location, "state"), asked(&away.location, "nonce")] {
        assert!(!away.cookie.contains(&secret), "sealed");
    }

    login.give(&away, "user-7");
    let answer = login.come_back(&away, &away.cookie).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert!(answer.header("location").starts_with(&format!("{CALLBACK}?")));
    assert_eq!(parameter(&answer, "state").as_deref(), Some("the state"));
    assert!(answer.header("set-cookie").contains("mandate-provider=; "), "{answer:?}");
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    let mut redemption = app::redemption(&parameter(&answer, "code").unwrap());
    redemption.push(("resource".to_owned(), CRM.to_owned()));
    let token = login.app().token(&redemption).await;
    assert_eq!(token.status, 200, "{token:?}");
    let claims = app::claims(&token.member("access_token"));
    assert_eq!((&claims["sub"], &claims["scope"]), (&json!(format!("{host}#user-7")), &json!("read:cases")));
    let [sent] = login.provider.redemptions().try_into().unwrap();
    assert!(sent.authorization.starts_with("Basic "), "with the secret of the file");
    login.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_request_is_kept_while_its_person_is_at_a_provider() {
    let login = Login::new().await;
    let pushed = async |state: &str| {
        let mut query = authorization(Some(CRM), Some("read:cases"));
        query.iter_mut().filter(|(name, _)| name == "state").for_each(|pair| state.clone_into(&mut pair.1));
        let request = login.app().http.post(login.server.url("/par")).form(&query);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        form(&[("client_id", "support-app"), ("request_uri", &answer.member("request_uri"))])
    };
    let page = login.app().open(&pushed("another state").await).await;
    let left = login.choose(&page).await;
    assert_eq!(left.status, 200, "{left:?}");
    let cookie = left.header("set-cookie").split(';').next().unwrap().to_owned();
    let away = Away { location: link(&left.text), cookie };
    login.give(&away, "user-7");
    let answer = login.come_back(&away, &away.cookie).await;
    assert_eq!((answer.status, parameter(&answer, "state").as_deref()), (303, Some("another state")));
    assert!(parameter(&answer, "code").is_some());

    // The browser could not keep it.
    let page = login.app().open(&pushed(&"s".repeat(3000)).await).await;
    assert_eq!((page.answer.status, login.choose(&page).await.status), (200, 400));
    login.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_provider_counts_in_no_other_browser() {
    let login = Login::new().await;
    let (ours, theirs) = (login.leave().await, login.leave().await);
    login.give(&ours, "user-7");
    let (name, value) = ours.cookie.split_once('=').unwrap();
    let (first, rest) = value.split_at(1);
    let changed = format!("{name}={}{rest}", if first == "A" { "B" } else { "A" });
    for (what, cookie) in [
        ("no cookie", String::new()),
        ("another browser's", theirs.cookie.clone()),
        ("a made-up one", format!("{name}=made-up")),
        ("a changed one", changed),
        ("an empty one", format!("{name}=")),
        ("one of another name", format!("x{}", ours.cookie)),
    ] {
        let answer = login.come_back(&ours, &cookie).await;
        assert_eq!((answer.status, answer.header("location")), (400, ""), "{what}");
        assert!(answer.text.contains("login_not_begun"), "{what}: {}", answer.text);
        assert_eq!(answer.header("set-cookie"), "", "{what}: a login of this browser goes on");
        is_a_safe_page(what, &answer);
    }
    assert!(login.provider.redemptions().is_empty());
    assert_eq!(login.come_back(&ours, &ours.cookie).await.status, 303, "the genuine one still counts");
    let again = login.come_back(&ours, &ours.cookie).await;
    assert!(again.status == 400 && again.text.contains("login_replayed"), "{again:?}");
    login.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_site_sends_a_browser_to_a_provider() {
    let login = Login::new().await;
    let page = login.open().await;
    let other = login.open().await;
    for (what, cookie, csrf) in [
        ("no cookie", "", page.csrf.as_str()),
        ("no token", &page.cookie, ""),
        ("another page's token", &page.cookie, &other.csrf),
    ] {
        let mut fields = chosen(&page);
        csrf.clone_into(&mut fields[0].1);
        let answer = login.app().submit(&page, cookie, &fields).await;
        assert_eq!(answer.status, 403, "{what}");
        assert!(!answer.header("set-cookie").contains("mandate-provider"), "{what}");
        is_a_safe_page(what, &answer);
    }
    for (name, value, status) in [
        ("decision", "deny", 400),
        ("password", app::PASSWORD, 400),
        ("name", "riley", 400),
        ("scope", "send:mail", 400),
        ("provider", "0000000000000000", 400),
        ("provider", "https://evil.example", 400),
    ] {
        let mut fields = chosen(&page);
        fields.retain(|(other, _)| other != name);
        fields.push((name.to_owned(), value.to_owned()));
        let answer = login.app().submit(&page, &page.cookie, &fields).await;
        assert_eq!((answer.status, answer.header("location")), (status, ""), "{name}={value}");
        assert!(!answer.text.contains("evil"), "{name}");
        is_a_safe_page(name, &answer);
    }
    login.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callback_sends_no_browser_anywhere_that_a_query_names() {
    let login = Login::new().await;
    let away = login.leave().await;
    let back = asked(&away.location, "redirect_uri");
    for query in [
        "redirect_uri=https://evil.example&code=c",
        "error=access_denied&error_uri=https://evil.example",
        "error=%3Cscript%3Ealert(1)%3C/script%3E&error_description=%3Cscript%3Ealert(2)%3C/script%3E",
        "code=c&state=%3Cscript%3E",
        "%zz",
        "",
    ] {
        for cookie in ["", &away.cookie] {
            let request = login.app().http.get(format!("{back}?{query}")).header("cookie", cookie);
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!((answer.status, answer.header("location")), (400, ""), "{query}");
            assert!(!answer.text.contains("alert") && !answer.text.contains("evil"), "{query}");
            is_a_safe_page(query, &answer);
        }
    }
    let posted = login.app().http.post(&back).form(&[("code", "c")]).send().await.unwrap();
    assert_eq!(posted.status(), 405, "response_mode=form_post was not asked for");
    login.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_without_an_entry_sees_what_an_operator_has_to_add() {
    let login = Login::new().await;
    let away = login.leave().await;
    login.give(&away, "<b>user-8</b>");
    let answer = login.come_back(&away, &away.cookie).await;
    assert_eq!((answer.status, answer.header("location")), (403, ""));
    is_a_safe_page("the page", &answer);
    assert!(answer.text.contains("&lt;b&gt;user-8&lt;/b&gt;"), "escaped: {}", answer.text);
    assert!(answer.text.contains("[[person]]") && answer.text.contains("http://127.0.0.1"));
    let record = login.server.newest_record().await;
    assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("refused", "person_not_registered"));
    login.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_one_provider_is_not_sent_to_another() {
    let login = Login::new().await;
    let other = ProviderDouble::start();
    login.server.apply(&entries(&other)).await;
    let problems = login.server.admin.status().await.unwrap().problems;
    let problem = problems.iter().find(|problem| problem.code == "login_secret").unwrap();
    assert!(problem.detail.contains(other.issuer.issuer().as_str()), "{problem:?}");
    assert!(problem.detail.contains(&login_key(&other.issuer.issuer())), "{problem:?}");
    login.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_others_can_read_or_that_is_a_link_is_not_used() {
    let login = Login::new().await;
    let folder = folder(&login.server, &login.provider);
    let file = folder.join("provider.secret");
    let refused = async |what: &str, part: &str| {
        let away = login.leave().await;
        login.give(&away, "user-7");
        let answer = login.come_back(&away, &away.cookie).await;
        assert_eq!(answer.status, 503, "{what}: {answer:?}");
        assert!(!answer.text.contains("provider.secret") && !answer.text.contains(SECRET), "{what}");
        let detail = login.server.newest_record().await.detail.unwrap();
        assert!(detail.contains(part) && !detail.contains(SECRET), "{what}: {detail}");
        let problems = login.server.admin.status().await.unwrap().problems;
        let problem = problems.iter().find(|problem| problem.code == "login_secret").unwrap();
        assert!(problem.detail.contains(part) && !problem.detail.contains(SECRET), "{what}: {problem:?}");
    };
    let problems = login.server.admin.status().await.unwrap().problems;
    assert!(problems.iter().all(|problem| problem.code != "login_secret"), "{problems:?}");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    refused("readable by all", "provider.secret").await;
    std::fs::remove_file(&file).unwrap();
    refused("missing", "write the client secret into it").await;
    std::os::unix::fs::symlink(login.server.state_dir().join("seal.key"), &file).unwrap();
    refused("a link", "provider.secret").await;
    assert!(login.provider.redemptions().is_empty());
    login.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_a_browser_could_not_keep_is_refused_before_it_leaves() {
    let login = Login::new().await;
    let mut query = authorization(Some(CRM), Some("read:cases"));
    let state = query.iter_mut().find(|(name, _)| name == "state").unwrap();
    state.1 = "s".repeat(3_000);
    let page = login.app().open(&query).await;
    let answer = login.choose(&page).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("too long for a login at an identity provider"), "{}", answer.text);
    is_a_safe_page("the page", &answer);
    login.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_was_begun_before_a_restart_is_begun_again() {
    let mut login = Login::new().await;
    let away = login.leave().await;
    login.give(&away, "user-7");
    login.server = login.server.restart().await;
    let answer = login.come_back(&away, &away.cookie).await;
    assert!(answer.status == 400 && answer.text.contains("login_not_begun"), "{answer:?}");
    let away = login.leave().await;
    login.give(&away, "user-7");
    assert_eq!(login.come_back(&away, &away.cookie).await.status, 303);
    login.server.stop().await;
}
