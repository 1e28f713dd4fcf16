//! What a request must say (`[API-1]`): enough to mean somebody, nothing that contradicts itself.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use super::Request;
use crate::conditions::{Conditions, Filter};

/// Length of a reason, in characters.
pub const REASON_CHARS: RangeInclusive<usize> = 10..=500;
/// Length of an emergency's reason, in characters.
pub const EMERGENCY_REASON_CHARS: RangeInclusive<usize> = 20..=500;
/// Length of the name of whoever ordered an emergency, in characters.
const AUTHORIZED_BY_CHARS: RangeInclusive<usize> = 1..=200;
/// Groups, and clients, in one request: each client is a cutoff of its own in the job's one transaction.
pub const MAX_NAMES: usize = 50;
/// Users, and excluded users, in one request.
pub const MAX_USERS: usize = 1_000;
/// Networks in one request.
pub const MAX_NETWORKS: usize = 100;

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to it.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

impl FieldError {
    /// A field and what is wrong with it.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Whether a reason has the right length.
pub fn reason(text: &str, range: &RangeInclusive<usize>) -> Result<(), FieldError> {
    length("/reason", text, range)
}

fn length(pointer: &str, text: &str, range: &RangeInclusive<usize>) -> Result<(), FieldError> {
    let length = text.trim().chars().count();
    if range.contains(&length) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(FieldError::new(pointer, format!("must be {least} to {most} characters long, and has {length}")))
}

/// Everything that is wrong with a request, by itself.
pub fn check(request: &Request, now: DateTime<Utc>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let emergency = matches!(request.conditions, Conditions::Emergency { .. });
    let reason_chars = if emergency { EMERGENCY_REASON_CHARS } else { REASON_CHARS };
    errors.extend(reason(&request.reason, &reason_chars).err());
    let mut past = |pointer: &str, time: Option<DateTime<Utc>>| {
        if time.is_some_and(|time| time > now) {
            errors.push(FieldError::new(pointer, "lies in the future; name a moment that has passed"));
        }
    };
    match &request.conditions {
        Conditions::GroupBased { .. } => {}
        Conditions::ClientBased { created_before, .. } => past("/created_before", *created_before),
        Conditions::TimeBased { created_before, last_used_before, .. } => {
            past("/created_before", *created_before);
            past("/last_used_before", *last_used_before);
            if created_before.is_none() && last_used_before.is_none() {
                let detail = "is missing: send \"created_before\", \"last_used_before\" or both";
                errors.push(FieldError::new("/created_before", detail));
            }
        }
        Conditions::Conditional(filter) => {
            past("/conditions/created_after", filter.created_after);
            past("/conditions/created_before", filter.created_before);
            past("/conditions/last_used_before", filter.last_used_before);
            check_filter(filter, &mut errors);
        }
        Conditions::Emergency { authorized_by, .. } => {
            errors.extend(length("/authorized_by", authorized_by, &AUTHORIZED_BY_CHARS).err());
        }
    }
    errors
}

fn check_filter(filter: &Filter, errors: &mut Vec<FieldError>) {
    let mut wrong =
        |pointer: &str, detail: String| errors.push(FieldError::new(format!("/conditions{pointer}"), detail));
    let selects = !filter.groups.is_empty()
        || !filter.users.is_empty()
        || !filter.clients.is_empty()
        || !filter.ip_ranges.is_empty()
        || filter.created_after.is_some()
        || filter.created_before.is_some()
        || filter.last_used_before.is_some();
    if !selects {
        let excludes =
            if filter.exclude_users.is_empty() { "" } else { ", and exclusions alone would mean everybody else" };
        wrong(
            "",
            format!(
                "select nothing in particular{excludes}: name groups, users, clients, ip_ranges, created_after, \
                 created_before or last_used_before; to log out everybody there is the emergency logout"
            ),
        );
    }
    if filter.include_subgroups && filter.groups.is_empty() {
        wrong("/include_subgroups", "needs \"groups\" whose subgroups are meant".to_owned());
    }
    if let (Some(after), Some(before)) = (filter.created_after, filter.created_before)
        && after >= before
    {
        wrong(
            "/created_after",
            "must be earlier than created_before: no token was issued after it and before that".to_owned(),
        );
    }
    if !filter.users.is_empty() && filter.users.is_subset(&filter.exclude_users) {
        wrong("/exclude_users", "excludes every user that \"users\" names, so that nobody is left".to_owned());
    }
    for (pointer, count, most) in [
        ("/groups", filter.groups.len(), MAX_NAMES),
        ("/clients", filter.clients.len(), MAX_NAMES),
        ("/users", filter.users.len(), MAX_USERS),
        ("/exclude_users", filter.exclude_users.len(), MAX_USERS),
        ("/ip_ranges", filter.ip_ranges.len(), MAX_NETWORKS),
    ] {
        if count > most {
            wrong(pointer, format!("has {count} values; {most} are the most that one job takes"));
        }
    }
}

/// Reads a network in CIDR notation (RFC 4632, RFC 4291). What could be meant in two ways is refused.
pub fn network(text: &str) -> Result<IpNet, String> {
    let network: IpNet =
        text.parse().map_err(|_| format!("{text:?} is no network; write one as 192.0.2.0/24 or 2001:db8::/32"))?;
    if network.prefix_len() == 0 {
        return Err(format!("{text:?} covers every address, so that it selects nothing in particular"));
    }
    if matches!(network, IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some()) {
        return Err(format!("{text:?} is IPv4 in IPv6's clothes; write it as 192.0.2.0/24"));
    }
    if network != network.trunc() {
        let (whole, single) = (network.trunc(), network.max_prefix_len());
        return Err(format!(
            "{text:?} has host bits set; write {whole} for the network or {}/{single} for one address",
            network.addr()
        ));
    }
    Ok(network)
}

/// Reads a moment (RFC 3339). Without a zone nobody knows which one is meant.
pub fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(|_| {
        format!("{text:?} is no moment; write one with its zone as 2026-01-31T09:00:00Z or 2026-01-31T18:00:00+09:00")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::ids::{GroupId, UserId};
    use crate::job::Priority;
    use chrono::TimeDelta;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_900_000_000, 0).unwrap()
    }

    fn request(conditions: Conditions) -> Request {
        let reason = "접근 권한 정리".to_owned() + "를 위한 로그아웃입니다";
        Request { reason, ..Request::of(conditions, Priority::Normal) }
    }

    fn wrong(conditions: Conditions) -> Vec<String> {
        check(&request(conditions), now())
            .into_iter()
            .map(|error| format!("{}: {}", error.pointer, error.detail))
            .collect()
    }

    fn filtered(filter: Filter) -> Vec<String> {
        wrong(Conditions::Conditional(Box::new(filter)))
    }

    #[test]
    fn api_1_forgotten_empty_and_exclusion_only_conditions_are_refused_and_say_what_is_missing() {
        let users = |names: &[&str]| names.iter().map(|name| UserId::parse(*name).unwrap()).collect();
        let empty = filtered(Filter::default());
        assert!(
            empty[0].starts_with("/conditions: select nothing") && empty[0].contains("name groups, users, clients")
        );
        let only = filtered(Filter { exclude_users: users(&["u"]), exclude_admin_users: true, ..Filter::default() });
        assert!(only[0].contains("exclusions alone would mean everybody else"), "{only:?}");
        let nothing = Conditions::TimeBased {
            created_before: None,
            last_used_before: None,
            token_types: crate::cutoff::Kinds::Both,
        };
        assert!(wrong(nothing)[0].contains("send \"created_before\", \"last_used_before\" or both"));
        let group = std::collections::BTreeSet::from([GroupId::parse("g").unwrap()]);
        assert_eq!(filtered(Filter { groups: group, include_subgroups: true, ..Filter::default() }), [""; 0]);
        let subgroups = Filter { users: users(&["u"]), include_subgroups: true, ..Filter::default() };
        assert!(filtered(subgroups)[0].starts_with("/conditions/include_subgroups: needs"));
    }

    #[test]
    fn api_1_contradictory_conditions_are_refused() {
        let users = |names: &[&str]| names.iter().map(|name| UserId::parse(*name).unwrap()).collect();
        let nobody = Filter { users: users(&["a", "b"]), exclude_users: users(&["a", "b", "c"]), ..Filter::default() };
        assert!(filtered(nobody)[0].starts_with("/conditions/exclude_users: excludes every user"));
        let some = Filter { users: users(&["a", "b"]), exclude_users: users(&["a"]), ..Filter::default() };
        assert_eq!(filtered(some), [""; 0]);
        let (earlier, later) = (now() - TimeDelta::hours(2), now() - TimeDelta::hours(1));
        let span =
            |after, before| Filter { created_after: Some(after), created_before: Some(before), ..Filter::default() };
        assert_eq!(filtered(span(earlier, later)), [""; 0]);
        assert!(filtered(span(later, earlier))[0].starts_with("/conditions/created_after: must be earlier"));
        assert_eq!(filtered(span(later, later)).len(), 1);
    }

    #[test]
    fn api_1_moments_in_the_future_or_without_a_zone_are_refused_and_offsets_understood() {
        let future = Filter { created_before: Some(now() + TimeDelta::seconds(1)), ..Filter::default() };
        assert!(filtered(future)[0].contains("lies in the future"));
        assert_eq!(moment("2026-01-31T18:00:00+09:00").unwrap(), moment("2026-01-31T09:00:00Z").unwrap());
        for text in ["2026-01-31T09:00:00", "2026-01-31", "yesterday", "2026-02-30T00:00:00Z", "1769850000", ""] {
            assert!(moment(text).unwrap_err().contains("with its zone"), "{text}");
        }
    }

    #[test]
    fn api_1_networks_are_cidr_of_either_version_and_never_everything() {
        for text in ["192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32", "::1/128", "10.0.0.0/8"] {
            assert_eq!(network(text).unwrap().to_string(), text);
        }
        for text in ["192.0.2.0", "192.0.2.0/33", "192.0.2/24", "2001:db8::/129", "fe80::1%eth0/64", "x", ""] {
            assert!(network(text).unwrap_err().contains("is no network"), "{text}");
        }
        for text in ["::ffff:10.0.0.0/104", "::ffff:10.0.0.1/128"] {
            assert!(
                network(text).unwrap_err().contains("IPv4 in IPv6"),
                "{text}: sessions' addresses are compared as IPv4"
            );
        }
        for text in ["0.0.0.0/0", "::/0"] {
            assert!(network(text).unwrap_err().contains("covers every address"), "{text}");
        }
        let both = network("10.1.2.3/8").unwrap_err();
        assert!(both.contains("10.0.0.0/8") && both.contains("10.1.2.3/32"), "{both}");
    }

    #[test]
    fn api_1_a_reason_is_ten_to_five_hundred_characters_of_any_script() {
        let of = |text: String| {
            let group_id = GroupId::parse("g").unwrap();
            let group = Conditions::GroupBased { group_id, include_subgroups: false, exclude_admin_users: true };
            check(&Request { reason: text, ..Request::of(group, Priority::Normal) }, now()).len()
        };
        assert_eq!((of("가".repeat(500)), of("가".repeat(10)), of("👩‍💻".repeat(100))), (0, 0, 0));
        assert_eq!((of("가".repeat(501)), of("가".repeat(9)), of(" ".repeat(40)), of(String::new())), (1, 1, 1, 1));
        let emergency = |text: &str| {
            let order = Conditions::Emergency {
                exclude_admin_sessions: true,
                preserve_service_tokens: true,
                authorized_by: "security-team".to_owned(),
            };
            check(&Request { reason: text.to_owned(), ..Request::of(order, Priority::Immediate) }, now()).len()
        };
        assert_eq!((emergency(&"x".repeat(19)), emergency(&"x".repeat(20))), (1, 0));
    }
}
