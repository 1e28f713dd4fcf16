//! Settles one chunk per message: token rows, sessions, affected users, counts. Of a chunk that is a part of a table
//! or index, as much as there is time for; the rest is another message. Then has the affected users told.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use domain::messages::ChunkMessage;
use domain::settle::{Settled, Settler, Try};
use lambda_kit::{batch, metrics};
use lambda_runtime::{Error, LambdaEvent};

/// How often the queue delivers a message before it goes to the dead letters (`maxReceiveCount` in `template.yaml`;
/// a test holds the two together). On the last delivery a chunk that fails is given up.
pub const MAX_RECEIVES: u32 = 5;

/// Works through a batch of chunk messages.
pub async fn handle(event: LambdaEvent<SqsEvent>, settler: &Settler) -> Result<SqsBatchResponse, Error> {
    let deadline = batch::deadline(&event.context);
    Ok(batch::run(event.payload, |message| async move {
        let chunk = ChunkMessage::parse(&message.body)?.chunk;
        let settled = settler.settle(&chunk, Try::of(message.receives, MAX_RECEIVES), deadline).await?;
        let (closed, untold) = match settled {
            Settled::Through(closed) => (closed, None),
            Settled::Untold(closed, error) => (closed, Some(error)),
            Settled::ToBeContinued => (None, None),
        };
        if let Some(closed) = closed {
            metrics::job_ended(settler.clock.as_ref(), &closed);
        }
        untold.map_or(Ok(()), |error| Err(error.into()))
    })
    .await)
}
