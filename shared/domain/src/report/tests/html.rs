//! The page: well-formed, of our making alone, and at home with any names and reasons.

use super::*;
use crate::report::{Language, page, policy};

/// Elements that have no end.
const EMPTY: [&str; 2] = ["meta", "br"];

/// A name and its attributes.
type Element = (String, Vec<(String, String)>);

/// Reads a page as a strict reader would, and gives back its elements' names and attributes, and its texts. Panics where
/// an element is not closed in its turn, an attribute is not quoted, or a `<`, `>` or `"` stands where it must not.
fn read(html: &str) -> (Vec<Element>, String) {
    let (mut open, mut elements, mut texts): (Vec<String>, Vec<_>, String) = (Vec::new(), Vec::new(), String::new());
    let mut rest = html.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some((text, after)) = rest.split_once('<') {
        assert!(open.last().is_some_and(|name| name == "style") || !text.contains('>'), "a stray > in {text:?}");
        texts.push_str(text);
        let (tag, after) = after.split_once('>').unwrap_or_else(|| panic!("a tag without end: {after}"));
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed out of turn before {rest:.80}");
            continue;
        }
        let tag = tag.strip_suffix('/').unwrap_or(tag).trim_end();
        let is_closed = html[..html.len() - rest.len() - 1].ends_with('/');
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut of = Vec::new();
        while !attributes.trim().is_empty() {
            let (attribute, value) = attributes.trim_start().split_once("=\"").unwrap_or_else(|| panic!("{tag}"));
            assert!(attribute.chars().all(|c| c.is_ascii_lowercase() || "-BxX12y".contains(c)), "{attribute} in {tag}");
            let (value, after) = value.split_once('"').unwrap();
            of.push((attribute.to_owned(), value.to_owned()));
            attributes = after;
        }
        elements.push((name.to_owned(), of));
        if !EMPTY.contains(&name) && !is_closed {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    (elements, texts + rest)
}

/// Nothing runs, nothing comes from outside, and every element is one of those that we write.
fn is_ours(html: &str) -> usize {
    let (elements, _) = read(html);
    let known = "html head meta title style body header h1 br p strong main section h2 h3 dl div dt dd small bdi span table \
                 thead tbody tr th td caption code ul li svg desc line text rect g b footer";
    let known: Vec<&str> = known.split_whitespace().collect();
    for (name, attributes) in &elements {
        assert!(known.contains(&name.as_str()), "<{name}>");
        for (attribute, value) in attributes {
            assert!(
                !attribute.starts_with("on") && !["href", "src", "style", "action"].contains(&&**attribute),
                "{attribute}"
            );
            assert!(!value.contains("://") && !value.contains("javascript:"), "{value}");
        }
    }
    for unwanted in ["://", "url(", "@import", "<script", "<link", "<img", "<iframe"] {
        assert!(!html.replace("time zone", "").contains(unwanted), "{unwanted}");
    }
    elements.len()
}

const NASTY: [&str; 9] = [
    "<script>alert('\"&')</script>",
    "</bdi></td></tr></table></body></html><img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)",
    "<!-- --> &lt;b&gt; {{ r.month }} {% raw %} $\\frac{a}{b}$",
    "\u{202E}gnp.exe\u{2066} שלום مرحبا",
    "👩‍💻🔑\u{FE0F}\u{200D}e\u{301}Z\u{351}\u{36B}\u{343}A\u{489}",
    "a\r\nb\u{0}\u{85}\u{2028}c",
    "𒐫﷽꧅",
    "   ",
];

/// A month in which every list has something, all of it in these words.
async fn told(words: &str) -> World {
    let mut world = World::at("2026-12-01T06:00:00");
    let id = |text: &str| {
        let id: String = text.chars().filter(|c| !c.is_control()).take(150).collect();
        UserId::parse(if id.trim().is_empty() { "blank".to_owned() } else { id }).unwrap()
    };
    let named = Actor { id: id(words), email: Some(words.to_owned()), name: Some(words.to_owned()) };
    let night = Actor { id: UserId::parse("night").unwrap(), ..named.clone() };
    for day in 1..=28 {
        world.make(&night, time("2026-10-31T10:00:00") - TimeDelta::days(day), group(), words, false).await;
    }
    for minute in 0..12 {
        let at = time("2026-11-05T03:00:00") + TimeDelta::minutes(minute);
        let job = world.make(&night, at, group(), words, false).await;
        world.end(&job, if minute < 2 { Status::Failed } else { Status::Completed }, lost(1_234), at).await;
    }
    world.make(&named, time("2026-11-06T10:00:00"), emergency(words), words, false).await;
    for action in [Action::PermissionDenied, Action::RateLimited, Action::EmergencyKeyVerificationFailed] {
        let entry = world.act(action, "x", time("2026-11-07T10:00:00")).await;
        world.store.append(&Entry { id: format!("{}!", entry.id), actor: named.clone(), ..entry }).await.unwrap();
    }
    world
}

#[tokio::test]
async fn audit_4_the_page_is_well_formed_whatever_names_and_reasons_say() {
    let long = "가".repeat(500);
    let unbroken = "x".repeat(500);
    let tame = told("tame").await.report("2026-11").await;
    for language in Language::ALL {
        let elements = is_ours(&page(&tame, language));
        for words in NASTY.into_iter().chain([&*long, &*unbroken]) {
            let html = page(&told(words).await.report("2026-11").await, language);
            // As many elements as with tame words: none is added, none swallowed. A blank name leaves one line out.
            let got = is_ours(&html);
            assert!(got == elements || words.trim().is_empty() && got < elements, "{words}: {got}, not {elements}");
            assert!(!html.contains(['\0', '\u{85}', '\u{2028}', '\r']), "{words:?}");
            assert!(html.len() < 300_000, "{}", html.len());
        }
    }
}

#[tokio::test]
async fn audit_4_the_page_says_everything_in_its_language_and_every_chart_in_words() {
    let report = told("김하나 & Söhne").await.report("2026-11").await;
    for (language, month, wanted) in [
        (
            Language::English,
            "November 2026",
            ["Suspicious patterns", "5 November 2026 03:00", "More than 3 jobs", "09–12"],
        ),
        (Language::Korean, "2026년 11월", ["의심스러운 패턴", "2026년 11월 5일 03:00", "한 시간 안에", "09–12"]),
    ] {
        let html = page(&report, language);
        let (elements, texts) = read(&html);
        assert!(texts.contains(month) && texts.contains("김하나 &#38; Söhne"), "{texts}");
        for wanted in wanted {
            assert!(texts.contains(wanted), "{wanted} is missing");
        }
        assert!(texts.contains("14,808"), "numbers are written in groups");
        let charts: Vec<_> = elements.iter().filter(|(name, _)| name == "svg").collect();
        assert_eq!(charts.len(), 6, "three, for wide and for narrow screens");
        let ids: Vec<&str> =
            elements.iter().flat_map(|(_, of)| of).filter(|(name, _)| name == "id").map(|(_, id)| &**id).collect();
        let unique: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), unique.len(), "{ids:?}");
        let named = |(_, attributes): &&(String, Vec<(String, String)>)| {
            let labels = attributes.iter().find(|(name, _)| name == "aria-labelledby").unwrap();
            labels.1.split(' ').all(|id| unique.contains(id))
                && attributes.contains(&("role".to_owned(), "img".to_owned()))
        };
        assert!(charts.iter().all(named), "every chart is labelled");
        assert_eq!(elements.iter().filter(|(name, _)| name == "table").count(), 11, "and has a table");
        let korean = |text: &str| text.chars().any(|c| ('가'..='힣').contains(&c));
        let own = texts.replace("김하나", "").replace('씨', "");
        assert_eq!(korean(&own), language == Language::Korean, "{own}");
    }
}

/// The policy allows the style sheet that is in the page, and nothing else.
#[tokio::test]
async fn audit_4_the_pages_policy_is_that_of_its_style_sheet() {
    use base64::Engine as _;
    use sha2::Digest as _;
    let html = page(&World::at("2026-12-01T06:00:00").report("2026-11").await, Language::English);
    let style = html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(style));
    assert_eq!(policy(), format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"));
    assert!(html.contains(&policy().replace('\'', "&#39;")), "{}", &html[..600]);
}

#[tokio::test]
async fn audit_4_an_empty_month_reads_well() {
    let report = World::at("2026-12-01T06:00:00").report("2026-11").await;
    assert_eq!(findings(&report), Vec::<String>::new());
    for (language, wanted) in [
        (Language::English, ["No batch logout was made", "Nothing suspicious was found", "No job failed"]),
        (Language::Korean, ["실행되지 않았습니다", "발견되지 않았습니다", "실패한 작업이 없습니다"]),
    ] {
        let html = page(&report, language);
        is_ours(&html);
        assert!(wanted.iter().all(|wanted| html.contains(wanted)), "{html}");
        assert!(!html.contains("<svg"), "there is nothing to draw");
    }
}

#[tokio::test]
async fn audit_4_an_unfinished_or_doubtful_report_says_so() {
    let world = World::at("2026-11-20T06:00:00");
    let mut report = world.report("2026-11").await;
    assert!(page(&report, Language::English).contains("This report is not final."));
    report.audit.unreadable = 2;
    assert!(page(&report, Language::Korean).contains("감사 기록 2건이"));
    report.audit.published = Some(crate::report::Published {
        number: 7,
        at: None,
        sha256: None,
        overwritten: true,
        heads: vec![],
        other_heads: 0,
    });
    let html = page(&report, Language::English);
    assert!(html.contains("was deleted or written over") && html.contains("number 7; it cannot be read"));
    is_ours(&html);
}
