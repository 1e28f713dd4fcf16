//! What the template deploys is what the functions have (`[API-10]`); that nothing is left out of the document is in
//! `architecture.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use tests::environment::root;
use utoipa::openapi::OpenApi;

/// The routes of the template, each with the function it leads to.
fn deployed() -> Vec<(String, String)> {
    let template = fs::read_to_string(root().join("template.yaml")).unwrap();
    let value = |line: &str, name: &str| {
        let rest = line.split_once(&format!("{name}: "))?.1;
        Some(rest.trim_start_matches('"').split(['"', ',', ' ']).next()?.to_owned())
    };
    let (mut function, mut routes) = (String::new(), Vec::new());
    let mut lines = template.lines();
    while let Some(line) = lines.next() {
        if let Some(folder) = value(line, "CodeUri") {
            folder.trim_start_matches("functions/").clone_into(&mut function);
        }
        if line.trim() == "Type: Api" {
            let properties = lines.next().unwrap();
            let route = value(properties, "Method").zip(value(properties, "Path"));
            let (method, path) = route.unwrap_or_else(|| panic!("one line with method and path: {properties}"));
            routes.push((format!("{method} {path}"), function.clone()));
        }
    }
    routes
}

/// The calls that a function describes, as `GET /path`.
fn calls(described: &OpenApi) -> Vec<String> {
    let document = serde_json::to_value(described).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, calls): (&String, &serde_json::Value)| {
        let methods = calls.as_object().unwrap().keys().map(|method| method.to_uppercase());
        methods.map(|method| format!("{method} {path}")).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

#[test]
fn api_10_every_route_leads_to_the_function_that_has_it() {
    let of_functions = [("admin-api", admin_api::described()), ("auth-api", auth_api::described())];
    let mut has: BTreeMap<String, &str> = BTreeMap::new();
    for (function, described) in &of_functions {
        for call in calls(described) {
            assert_eq!(has.insert(call.clone(), function), None, "{call} is in two functions");
        }
    }
    let mut seen = BTreeSet::new();
    for (route, function) in deployed() {
        assert!(seen.insert(route.clone()), "{route} is in the template twice");
        // Pages of other origins ask by OPTIONS first: whoever has the path answers that.
        let has_it = match route.strip_prefix("OPTIONS ") {
            Some(path) => has.iter().any(|(call, whose)| call.ends_with(&format!(" {path}")) && *whose == function),
            None => has.get(&route) == Some(&function.as_str()),
        };
        assert!(has_it, "{route} leads to {function}, which does not have it");
    }
}

/// A page of another origin may call what it can ask about first.
#[test]
fn authz_1_every_call_that_browsers_ask_about_first_can_be_asked_about() {
    let deployed: Vec<String> = deployed().into_iter().map(|(route, _)| route).collect();
    for route in &deployed {
        let (method, path) = route.split_once(' ').unwrap();
        // A plain GET of a public document needs no permission (Fetch standard, "CORS-safelisted").
        let open = ["/health", "/openapi.json", "/oauth/authorize", "/api/v1/accounts/auth/callback"];
        if method == "OPTIONS" || open.contains(&path) {
            continue;
        }
        assert!(deployed.contains(&format!("OPTIONS {path}")), "{route} has no OPTIONS beside it");
    }
}
