//! The processes of a simulation: each works behind rails of its own, in a weather of its own.

use std::pin::Pin;
use std::sync::Arc;

use chrono::TimeDelta;
use domain::accept::{Accepted, Acceptor, By, Refused};
use domain::audit::Origin;
use domain::cancel::NotCancelled;
use domain::cutoff::Scope;
use domain::error::WorkError;
use domain::ids::JobId;
use domain::job::{ChunkRef, Job, NoticeRef};
use domain::notify::Notifier;
use domain::plan::Planner;
use domain::redrive::Redriver;
use domain::settle::{Settled, Settler, Try};
use domain::testing::{Memory, MemoryQueue};
use domain::time::Clock as _;
use domain::token::RevokedBy;

use super::cluster::Seat;
use super::{Letter, Machine, World, admin};
use crate::fleet::Fleet;
use crate::rail::{Rail, Weather};

/// What a process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Takes the request.
    Accept,
    /// Plans.
    Plan(JobId),
    /// Settles.
    Chunk(ChunkRef),
    /// Tells users.
    Notice(NoticeRef),
    /// Looks for what got stuck.
    Redrive,
    /// Looks after the cache.
    Guard,
    /// Stops the job.
    Cancel(JobId),
    /// Signs a user out everywhere: which of those who asked.
    SignOut(usize),
}

impl Work {
    /// Its kind.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Plan(_) => "plan",
            Self::Chunk(_) => "chunk",
            Self::Notice(_) => "notice",
            Self::Redrive => "redrive",
            Self::Guard => "guard",
            Self::Cancel(_) => "cancel",
            Self::SignOut(_) => "sign out",
        }
    }
}

/// How a process ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Its message is done with.
    Done,
    /// Its message has to come again.
    Again,
    /// It could not, and whoever asked may ask again.
    Nothing,
    /// The request was answered with this job; whether it is this very request that made it.
    Accepted(Box<Job>, bool),
    /// The job was stopped.
    Cancelled,
    /// The user was told to be signed out.
    SignedOut(usize),
}

/// A process under way.
pub(super) struct Process {
    pub(super) task: Pin<Box<dyn Future<Output = Ended>>>,
    pub(super) weather: Arc<Weather>,
    pub(super) work: Work,
    pub(super) letter: Option<Letter>,
    pub(super) machine: Machine,
    /// The step at which it was started.
    pub(super) began: u64,
}

fn of_message(outcome: Result<(), WorkError>) -> Ended {
    match outcome {
        Ok(()) | Err(WorkError::Drop(_)) => Ended::Done,
        Err(WorkError::Retry(_)) => Ended::Again,
    }
}

/// The same fleet on a machine, by rail.
fn by_rail(world: &World, weather: &Arc<Weather>, machine: &Machine) -> Fleet<Rail<Memory>, Rail<Seat>> {
    let fleet = &world.fleet;
    let pen = Some(machine.pen.clone());
    Fleet {
        store: Arc::new(Rail { inner: fleet.store.clone(), weather: weather.clone(), pen }),
        cache: Arc::new(Rail::new(machine.seat.clone(), weather.clone())),
        queue: fleet.queue.clone(),
        clock: machine.clock.clone(),
        ids: fleet.ids.clone(),
        mailer: fleet.mailer.clone(),
        vault: fleet.vault.clone(),
        mail_provider: fleet.mail_provider.clone(),
        secrets: fleet.secrets.clone(),
        exchanges: fleet.exchanges.clone(),
        heads: fleet.heads.clone(),
        reports: fleet.reports.clone(),
    }
}

/// The task of a process.
pub(super) fn task(
    world: &World,
    work: &Work,
    at: Try,
    weather: &Arc<Weather>,
    machine: &Machine,
) -> Pin<Box<dyn Future<Output = Ended>>> {
    let fleet = by_rail(world, weather, machine);
    let queue: Arc<Rail<MemoryQueue>> = Arc::new(Rail::new(world.fleet.queue.clone(), weather.clone()));
    let deadline = fleet.clock.now() + TimeDelta::hours(1);
    match work.clone() {
        Work::Accept => {
            let acceptor = Acceptor { queue, ..fleet.acceptor() };
            let (desk, request) = (fleet.desk(), world.request.clone());
            Box::pin(async move {
                let user = admin();
                match acceptor.accept(By::User { user: &user, desk: &desk }, request).await {
                    Ok(answer) => match answer.accepted {
                        Accepted::Started { job, .. } => Ended::Accepted(Box::new(job), answer.standing.is_some()),
                        Accepted::Counted { .. } => panic!("a real run was only counted"),
                    },
                    Err(Refused::Port(_)) => Ended::Nothing,
                    Err(refused) => panic!("the request is refused: {refused:?}"),
                }
            })
        }
        Work::Plan(job) => {
            let planner = Planner { queue, ..fleet.planner() };
            Box::pin(async move { of_message(planner.plan(&job, deadline).await.map(|_| ())) })
        }
        Work::Chunk(chunk) => {
            let settler = Settler { queue, ..fleet.settler() };
            Box::pin(async move {
                match settler.settle(&chunk, at, deadline).await {
                    Ok(Settled::Untold(..)) => Ended::Again,
                    outcome => of_message(outcome.map(|_| ())),
                }
            })
        }
        Work::Notice(notice) => {
            let post = Arc::new(Rail::new(world.post.clone(), weather.clone()));
            let notifier = Notifier { queue, ..fleet.notifier(post) };
            Box::pin(async move { of_message(notifier.notify(&notice, deadline).await.map(|_| ())) })
        }
        Work::Redrive => {
            let redriver = Redriver { queue, ..fleet.redriver() };
            Box::pin(async move {
                let _ = redriver.redrive().await;
                Ended::Done
            })
        }
        Work::Guard => Box::pin(async move {
            let _ = fleet.guard().await;
            Ended::Done
        }),
        Work::SignOut(which) => {
            let (denier, out) = (fleet.denier(), &world.sign_outs[which]);
            let (scope, at) = (Scope::User(out.user.clone()), out.at);
            Box::pin(async move {
                match denier.sign_ins([scope], at, &RevokedBy::User).await {
                    Ok(()) => Ended::SignedOut(which),
                    Err(_) => Ended::Nothing,
                }
            })
        }
        Work::Cancel(job) => {
            let canceller = fleet.canceller();
            Box::pin(async move {
                let reason = "the wrong group was named";
                match canceller.cancel(&admin(), &job, reason, &Origin::default()).await {
                    Ok(_) => Ended::Cancelled,
                    Err(NotCancelled::Ended(_) | NotCancelled::Refused(Refused::Port(_))) => Ended::Nothing,
                    Err(refused) => panic!("the cancel is refused: {refused:?}"),
                }
            })
        }
    }
}
