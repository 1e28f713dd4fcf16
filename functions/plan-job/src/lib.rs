//! Plans one job per message: freezes its users, makes it effective, sends out its chunks.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use domain::messages::PlanMessage;
use domain::plan::{Planned, Planner};
use lambda_kit::batch;
use lambda_kit::metrics::{self, Unit};
use lambda_runtime::{Error, LambdaEvent};

/// A planner stops this long before the function would be ended, so that its last step is never cut off.
const MARGIN_SECONDS: i64 = 20;

/// Works through a batch of planning messages.
pub async fn handle(event: LambdaEvent<SqsEvent>, planner: &Planner) -> Result<SqsBatchResponse, Error> {
    let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
    let deadline = domain::time::from_millis(deadline.saturating_sub(MARGIN_SECONDS * 1_000));
    Ok(batch::run(event.payload, |message| async move {
        let message = PlanMessage::parse(&message.body)?;
        let outcome = planner.plan(&message.job_id, deadline).await?;
        if let Planned::Finished { effective_millis: Some(millis) } = outcome {
            let job = [("job_id", message.job_id.as_str())];
            metrics::emit(planner.clock.as_ref(), "TimeToEffective", Unit::Milliseconds, millis, &job);
        }
        Ok(())
    })
    .await)
}
