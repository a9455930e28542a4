//! How the login page is laid out in Chromium, on phones and on large screens, with names of every length.

use mandate_testkit::app::{Answer, App, CALLBACK, CRM, PASSWORD, authorization, form};
use serde_json::Value;
use url::Url;

use crate::registry::{NO_KEYS, SCOPE, apply, registry};
use crate::server::Server;
use crate::webdriver::Browser;

/// Small and common phones, and a large screen, in CSS pixels.
const SCREENS: [(u32, u32); 3] = [(360, 640), (390, 844), (1200, 800)];

/// How much room the card must have on both sides.
const MARGIN: f64 = 12.0;

/// What is measured in the page: see [`Layout`].
const MEASURE: &str = r"
    const main = document.querySelector('main');
    const box = ({left, right, top, bottom}) => ({left, right, top, bottom});
    const lines = element => {
        const range = document.createRange();
        range.selectNodeContents(element);
        return new Set([...range.getClientRects()].map(rect => Math.round(rect.top))).size;
    };
    const name = element => element.tagName.toLowerCase() + ' ' + (element.id || element.textContent.slice(0, 40));
    const shown = [...main.querySelectorAll('*')].filter(element => element.type !== 'hidden');
    const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    const buttons = [...document.querySelectorAll('button')];
    return {
        inner: window.innerWidth,
        scroll: document.documentElement.scrollWidth,
        card: box(main.getBoundingClientRect()),
        text: main.innerText,
        boxes: shown.map(element => ({name: name(element), ...box(element.getBoundingClientRect())})),
        clipped: shown.filter(element => element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== 'inline').map(name),
        faint: shown.filter(element => { const style = getComputedStyle(element); return style.visibility !== 'visible' || style.opacity !== '1'; }).map(name),
        buttons: buttons.map(button => ({name: name(button), lines: lines(button), ...box(button.getBoundingClientRect())})),
        overlapping: buttons.length > 1 && overlap(buttons[0].getBoundingClientRect(), buttons[1].getBoundingClientRect()),
    };
";

fn number(value: &Value, member: &str) -> f64 {
    value[member].as_f64().unwrap_or_else(|| panic!("no {member} in {value}"))
}

/// Looks at the page on every screen; `parts` must be there to be read.
async fn is_laid_out_well(browser: &Browser, what: &str, parts: &[&str]) {
    for (width, height) in SCREENS {
        browser.resize(width, height).await;
        let layout = browser.ask(MEASURE).await;
        let what = format!("{what} at {width}");
        assert_eq!(layout["inner"], width, "{what}");
        assert!(
            number(&layout, "scroll") <= f64::from(width),
            "{what}: scrolls sideways, {} wide",
            layout["scroll"]
        );
        let card = &layout["card"];
        let (left, right) = (number(card, "left"), number(card, "right"));
        assert!(left >= MARGIN && f64::from(width) - right >= MARGIN, "{what}: the card at {card}");
        for element in layout["boxes"].as_array().unwrap() {
            assert!(
                number(element, "left") >= left && number(element, "right") <= right,
                "{what}: outside of the card: {element}"
            );
            assert!(number(element, "bottom") > number(element, "top"), "{what}: not to be seen: {element}");
            assert!(number(element, "bottom") <= number(card, "bottom"), "{what}: below the card: {element}");
        }
        for wrong in ["clipped", "faint"] {
            assert_eq!(layout[wrong].as_array().map(Vec::len), Some(0), "{what}: {wrong}: {}", layout[wrong]);
        }
        for button in layout["buttons"].as_array().unwrap() {
            assert_eq!(button["lines"], 1, "{what}: {button}");
        }
        assert_eq!(layout["overlapping"], false, "{what}: the buttons");
        let text = layout["text"].as_str().unwrap();
        for part in parts {
            assert!(text.contains(part), "{what}: {part} is not to be read in {text}");
        }
    }
}

fn url(server: &Server, query: &[(String, String)]) -> String {
    Url::parse_with_params(&format!("{}/authorize", server.issuer()), query).unwrap().into()
}

#[tokio::test]
async fn the_login_page_fits_phones_and_large_screens() {
    let Some(browser) = Browser::start().await else { return };
    let server = Server::start();
    apply(&server, &registry(NO_KEYS, ""));
    browser.open(&url(&server, &authorization(Some(CRM), Some(SCOPE)))).await;
    let host = CALLBACK.trim_start_matches("http://").trim_end_matches("/callback");
    let parts = ["support-app", SCOPE, CRM, host, server.issuer(), "Log in and allow", "Deny"];
    is_laid_out_well(&browser, "a usual request", &parts).await;

    browser.open(&url(&server, &authorization(None, None))).await;
    is_laid_out_well(
        &browser,
        "a request for everything",
        &["support-app", SCOPE, "send:mail", host, server.issuer()],
    )
    .await;

    browser.fill("#name", "riley").await;
    browser.fill("#password", "a wrong password").await;
    browser.click("button[value=allow]").await;
    browser.text("[role=alert]").await;
    is_laid_out_well(&browser, "a wrong password", &["The name or the password is wrong.", "support-app"])
        .await;

    browser.open(&url(&server, &form(&[("client_id", "nobody")]))).await;
    is_laid_out_well(&browser, "a refusal", &["This request is refused", "client_id"]).await;
    browser.open(server.issuer()).await;
    is_laid_out_well(&browser, "the issuer's own address", &[server.issuer(), "mandate status"]).await;
}

#[tokio::test]
async fn a_person_walks_through_the_pages_for_a_device() {
    let Some(browser) = Browser::start().await else { return };
    let server = Server::start();
    apply(&server, &registry(NO_KEYS, ""));
    let app = App::new(server.issuer());
    let asked = form(&[("client_id", "tv-app"), ("resource", CRM), ("scope", SCOPE)]);
    let request = app.http.post(format!("{}/device_authorization", server.issuer())).form(&asked);
    let waiting = Answer::of(request.send().await.unwrap()).await;
    let user_code = waiting.member("user_code");

    browser.open(&waiting.member("verification_uri")).await;
    browser.fill("#code", "BBBB-BBBB").await;
    browser.click("button").await;
    browser.text("[role=alert]").await;
    is_laid_out_well(&browser, "a wrong code", &["No device waits with this code", "Continue"]).await;
    browser.open(&waiting.member("verification_uri_complete")).await;
    is_laid_out_well(&browser, "the code", &["Log in on another device", "Continue", server.issuer()]).await;
    browser.click("button").await;
    browser.text("p.code").await;
    let parts = ["tv-app", SCOPE, CRM, &user_code, "another device", "Log in and allow", "Deny"];
    is_laid_out_well(&browser, "the login for a device", &parts).await;
    browser.fill("#name", "riley").await;
    browser.fill("#password", PASSWORD).await;
    browser.click("button[value=allow]").await;
    while browser.text("h1").await != "Your device may go on" {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    is_laid_out_well(&browser, "the end", &["Go back to it"]).await;
    let device_code = waiting.member("device_code");
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let polling =
        form(&[("grant_type", grant), ("client_id", "tv-app"), ("device_code", device_code.as_str())]);
    let answer = app.token(&polling).await;
    assert_eq!((answer.status, answer.member("scope")), (200, SCOPE.to_owned()), "{answer:?}");
}

#[tokio::test]
async fn long_names_and_many_scopes_do_not_break_the_login_page() {
    let Some(browser) = Browser::start().await else { return };
    let server = Server::start();
    // Nothing in them at which a line would break by itself.
    let client = "w".repeat(80);
    let host = format!("{}.{}.{}.example:8443", "a".repeat(63), "b".repeat(63), "c".repeat(40));
    let redirect = format!("https://{host}/callback");
    let resource = format!("https://crm.acme.example/{}", "r".repeat(100));
    let scopes: Vec<String> = (0..30)
        .map(|n| if n == 7 { "s".repeat(128) } else { format!("scope-number-{n}:read.and-write") })
        .collect();
    let listed = scopes.iter().map(|scope| format!("\"{scope}\"")).collect::<Vec<_>>().join(", ");
    let others = (0..15)
        .map(|n| {
            format!(
                "[[resource]]\nname = \"{}{n}\"\nuri = \"https://r{n}.example\"\nscopes = [{listed}]\n",
                "n".repeat(60)
            )
        })
        .collect::<Vec<_>>();
    let others = others.concat();
    let file = format!(
        "[[resource]]\nname = \"crm\"\nuri = \"{resource}\"\nscopes = [{listed}]\n{others}\
         [[client]]\nid = \"{client}\"\nredirect_uris = [\"{redirect}\"]\n\
         [[person]]\nname = \"riley\"\nmay = [{{ resource = \"crm\", scopes = [{listed}] }}]\n"
    );
    server.run(&["apply", "-f", "-"], &file);
    server.run(&["person", "set-password", "riley"], PASSWORD);
    let asked = scopes.join(" ");
    for (what, target) in [("one resource", Some(resource.as_str())), ("all resources", None)] {
        let mut query = authorization(target, target.map(|_| asked.as_str()));
        query.retain(|(name, _)| name != "client_id" && name != "redirect_uri");
        query.extend(form(&[("client_id", &client), ("redirect_uri", &redirect)]));
        let page = App::new(server.issuer()).open(&query).await;
        assert_eq!(page.answer.status, 200, "{what}: {page:?}");
        browser.open(&url(&server, &query)).await;
        let fixed = [client.as_str(), &host, server.issuer(), "Log in and allow", "Deny"];
        let parts: Vec<&str> =
            fixed.into_iter().chain(target).chain(scopes.iter().map(String::as_str)).collect();
        is_laid_out_well(&browser, what, &parts).await;
    }
}
