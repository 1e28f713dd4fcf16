//! The monthly report (`[AUDIT-4]`): what admins did, what came of it, and what somebody should look at.
//!
//! It is read from the audit entries of the month ([`gather`]), slice by slice with a draft in between ([`make`]), is
//! written down once ([`write`]) as [`view`] has it, and shown as a page ([`page`]). The auditors get a mail with its
//! main numbers ([`mailing`]).
//!
//! How to add a number: gather it, give it a place in [`view`], show it in the page. How to add a pattern: a module like
//! [`burst`] or [`habit`], with its rule at the top.

mod burst;
mod gather;
mod habit;
mod mailing;
mod make;
mod month;
mod page;
mod top;
mod view;
mod write;

pub use mailing::{Mailed, Mailing};
pub use make::{Made, NoReport, ReportStore, Reporter};
pub use month::{Month, NoMonth, NoZone, Zone};
pub(crate) use page::number;
pub use page::{Language, page, policy};
pub use view::*;

#[cfg(test)]
pub(crate) mod tests;
