//! Account sign-in (spec §13): service accounts sign in at their mail provider, and their tokens are kept.
//!
//! ```text
//! start ─▶ PENDING ─ browser, provider, callback ─▶ CALLBACK_RECEIVED ─ queue, exchange ─▶ COMPLETED
//!             │                    │                        │
//!             └─ ten minutes ─▶ EXPIRED     FAILED ◀────────┴─ refused, interrupted, or ended by a logout
//! ```
//!
//! Read [`session`] first, then follow one sign-in: [`start`], [`callback`], [`exchange`]. [`keep`] says what is kept
//! of the tokens and when they are good no more; [`refresh`] renews them; [`clean_up`] ends what leads nowhere.
//!
//! To add a way in which a sign-in can fail: a variant of [`Failure`], with its message and what to do next in both
//! languages.

pub mod account;
pub mod callback;
pub mod clean_up;
pub mod exchange;
pub mod failure;
pub mod keep;
pub mod list;
mod noting;
pub mod ports;
pub mod refresh;
pub mod session;
pub mod start;

pub use account::{Account, Provider, SecretRef};
pub use failure::{Advice, Failure};
pub use keep::{Keeper, Kept};
pub use session::{SignIn, Status};
pub use start::Desk;
