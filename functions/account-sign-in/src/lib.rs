//! Exchanges the codes of account sign-ins for tokens (spec §13): one message for each sign-in that was called back.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use domain::accounts::exchange::Exchanger;
use domain::messages::ExchangeMessage;
use lambda_kit::batch;
use lambda_runtime::{Error, LambdaEvent};

/// Works through a batch of messages.
pub async fn handle(event: LambdaEvent<SqsEvent>, exchanger: &Exchanger) -> Result<SqsBatchResponse, Error> {
    Ok(batch::run(event.payload, |message| async move {
        let sign_in = ExchangeMessage::parse(&message.body)?.sign_in;
        if let Some((status, failure)) = exchanger.exchange(&sign_in).await? {
            tracing::info!(%sign_in, status = status.as_str(), ?failure, "a sign-in is over");
        }
        Ok(())
    })
    .await)
}
