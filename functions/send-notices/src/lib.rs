//! Tells affected users: one message stands for all those of a chunk. Takes, too, what the mail service says of a mail
//! later, and notes it with the user.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use domain::messages::NoticeMessage;
use domain::notify::{Delivery, Notifier};
use lambda_kit::{batch, metrics};
use lambda_runtime::{Error, LambdaEvent};

/// Works through a batch of messages.
pub async fn handle(event: LambdaEvent<SqsEvent>, notifier: &Notifier) -> Result<SqsBatchResponse, Error> {
    let deadline = batch::deadline(&event.context);
    Ok(batch::run(event.payload, |message| async move {
        if Delivery::is_one(&message.body) {
            let delivery = Delivery::parse(&message.body)?;
            notifier.note(&delivery).await?;
            metrics::mail_returned(notifier.clock.as_ref(), &delivery);
            return Ok(());
        }
        let work = NoticeMessage::parse(&message.body)?.notice;
        let round = notifier.notify(&work, deadline).await?;
        metrics::users_told(notifier.clock.as_ref(), &work.job_id, &round);
        Ok(())
    })
    .await)
}
