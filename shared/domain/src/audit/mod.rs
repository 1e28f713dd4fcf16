//! The audit trail (`[AUDIT-1]`, `[AUDIT-2]`): what is written down of every request that changes or refuses something,
//! and how it is known afterwards that nobody has touched it.
//!
//! Every writer, which is a process, has a chain of its own: writers never wait for each other, and as nobody else
//! knows the chain's name, it cannot fork. An entry carries the hash of the one before it ([`chain`]). What an attacker
//! could still do is to take entries from a chain's end, to take a whole chain, or to write a chain anew from some
//! place on; against that the chains' heads are published every five minutes where nobody can take them back
//! ([`head`]). [`verify`] finds what does not fit and names the place, [`check`] does so with a stored trail.
//!
//! To add an action: a variant of [`Action`] and its name; who does it calls [`Auditor`], or hands the entry to the
//! store with what happens, if only both or none may happen. What nobody asked for, but somebody has to see at once, is
//! an [`alarm`]. Say in [`crate::siem::ocsf`] which event it is to a SIEM.

pub mod alarm;
pub mod chain;
pub mod check;
mod entry;
pub mod head;
mod of_job;
pub mod verify;

pub use entry::{Action, AuditLog, Auditor, Entry, Level, Origin};
pub use of_job::{JobTrail, TrailLine};
