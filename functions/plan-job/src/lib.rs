//! Plans one job per message: freezes its users, makes it effective, sends out its chunks.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use domain::messages::PlanMessage;
use domain::plan::{Planned, Planner};
use lambda_kit::batch;
use lambda_kit::metrics::{self, Unit};
use lambda_runtime::{Error, LambdaEvent};

/// Works through a batch of planning messages.
pub async fn handle(event: LambdaEvent<SqsEvent>, planner: &Planner) -> Result<SqsBatchResponse, Error> {
    let deadline = batch::deadline(&event.context);
    Ok(batch::run(event.payload, |message| async move {
        let message = PlanMessage::parse(&message.body)?;
        let outcome = planner.plan(&message.job_id, deadline).await?;
        if let Planned::Finished { effective_millis, closed } = outcome {
            let (clock, job) = (planner.effector.clock.as_ref(), [("job_id", message.job_id.as_str())]);
            if let Some(millis) = effective_millis {
                metrics::emit(clock, "TimeToEffective", Unit::Milliseconds, millis, &job);
            }
            if let Some(closed) = closed {
                metrics::job_ended(clock, &closed);
            }
        }
        Ok(())
    })
    .await)
}
