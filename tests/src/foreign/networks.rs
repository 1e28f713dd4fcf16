//! Networks in CIDR notation, and moments.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use domain::accept::validate;

/// A text as a network, and as a moment.
pub fn networks(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let moment = validate::moment(text);
    if let Ok(moment) = &moment {
        let kept = serde_json::to_string(moment).unwrap();
        let read: DateTime<Utc> = serde_json::from_str(&kept).unwrap_or_else(|error| panic!("{text} {kept}: {error}"));
        assert_eq!(&read, moment, "{text}: as it is kept with its job");
    }
    let Ok(network) = validate::network(text) else { return moment.is_ok() };
    assert_eq!(validate::network(&network.to_string()), Ok(network));
    assert!(network.contains(&network.addr()), "{text}: its own address");
    assert!(network.prefix_len() > 0, "{text}: everything is nothing in particular");
    let (first, bits) = number(network.addr());
    let host = bits - u32::from(network.prefix_len());
    let last = first + (1_u128.checked_shl(host).map_or(u128::MAX, |size| size - 1));
    assert_eq!(first.trailing_zeros().min(host), host.min(bits), "{text}: host bits are set");
    for (value, inside) in [
        (Some(first), true),
        (Some(last), true),
        (first.checked_sub(1), false),
        (last.checked_add(1).filter(|next| bits == 128 || *next >> 32 == 0), false),
    ] {
        let Some(value) = value else { continue };
        let address = address(value, bits);
        assert_eq!(network.contains(&address), inside, "{text}: {address}");
    }
    true
}

fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

fn address(value: u128, bits: u32) -> IpAddr {
    match u32::try_from(value) {
        Ok(v4) if bits == 32 => IpAddr::V4(v4.into()),
        _ => IpAddr::V6(value.into()),
    }
}
