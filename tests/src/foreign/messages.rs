//! What queues carry: our own messages, and the mail service's.

use std::fmt::Debug;

use domain::error::WorkError;
use domain::messages::{AlertMessage, ChunkMessage, ExchangeMessage, NoticeMessage, PlanMessage};
use domain::notify::Delivery;
use serde::Serialize;

/// A message's body, for whichever function.
pub fn messages(bytes: &[u8]) -> bool {
    let Ok(body) = std::str::from_utf8(bytes) else { return false };
    let ours = [
        reads_the_same(body, PlanMessage::parse),
        reads_the_same(body, ChunkMessage::parse),
        reads_the_same(body, NoticeMessage::parse),
        reads_the_same(body, ExchangeMessage::parse),
        reads_the_same(body, AlertMessage::parse),
    ];
    assert!(ours.iter().filter(|taken| **taken).count() <= 1, "no message is two");
    let delivery = Delivery::parse(body);
    if let Ok(delivery) = &delivery {
        assert!(Delivery::is_one(body) && !ours.contains(&true), "it is told from ours");
        let tags = delivery.mark.tags();
        assert!(tags.iter().all(|(name, _)| body.contains(name)), "{tags:?}");
    }
    ours.contains(&true) || delivery.is_ok()
}

fn reads_the_same<M>(body: &str, parse: impl Fn(&str) -> Result<M, WorkError>) -> bool
where
    M: Serialize + PartialEq + Debug,
{
    let Ok(message) = parse(body) else { return false };
    let written = serde_json::to_string(&message).unwrap();
    let again = parse(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(serde_json::to_string(&again).unwrap(), written);
    assert_eq!(again, message);
    true
}
