//! Counts the requests that a DynamoDB client sends, and the units that the store says they took.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use adapters::dynamodb::Dynamo;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextMut, BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{self, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::scan::{ScanInput, ScanOutput};
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsInput, TransactWriteItemsOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};

use crate::store::{Store, tables};

/// What was counted.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Count {
    /// Requests, by operation. What is tried again counts again.
    pub requests: BTreeMap<String, u64>,
    /// Write units.
    pub written: f64,
    /// Read units.
    pub read: f64,
}

impl Count {
    /// All requests.
    pub fn sent(&self) -> u64 {
        self.requests.values().sum()
    }
}

/// Counts what one client does.
#[derive(Debug, Default, Clone)]
pub struct Meter(Arc<Mutex<Count>>);

impl Meter {
    /// The store's ports, counted.
    pub async fn dynamo(&self, store: &Store) -> Arc<Dynamo> {
        Arc::new(Dynamo::with_client(self.client(store).await, tables()))
    }

    /// A client, counted.
    pub async fn client(&self, store: &Store) -> aws_sdk_dynamodb::Client {
        let config = config::Builder::from(&store.aws().await).interceptor(self.clone()).build();
        aws_sdk_dynamodb::Client::from_conf(config)
    }

    /// What was counted until now; counting begins anew.
    pub fn take(&self) -> Count {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Asks each named operation for the units it takes.
macro_rules! ask {
    ($input:ident, $($of:ty),*) => {
        $(if let Some(input) = $input.downcast_mut::<$of>() {
            input.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
        })*
    };
}

fn units<'a>(of: impl IntoIterator<Item = &'a ConsumedCapacity>) -> f64 {
    of.into_iter().filter_map(ConsumedCapacity::capacity_units).sum()
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let input = context.input_mut();
        ask!(input, UpdateItemInput, PutItemInput, TransactWriteItemsInput);
        ask!(input, QueryInput, GetItemInput, BatchGetItemInput, ScanInput);
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        *self.0.lock().unwrap().requests.entry(operation).or_default() += 1;
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Ok(output)) = context.output_or_error() else { return Ok(()) };
        let (mut written, mut read) = (0.0, 0.0);
        if let Some(output) = output.downcast_ref::<UpdateItemOutput>() {
            written = units(output.consumed_capacity());
        } else if let Some(output) = output.downcast_ref::<PutItemOutput>() {
            written = units(output.consumed_capacity());
        } else if let Some(output) = output.downcast_ref::<TransactWriteItemsOutput>() {
            written = units(output.consumed_capacity());
        } else if let Some(output) = output.downcast_ref::<QueryOutput>() {
            read = units(output.consumed_capacity());
        } else if let Some(output) = output.downcast_ref::<GetItemOutput>() {
            read = units(output.consumed_capacity());
        } else if let Some(output) = output.downcast_ref::<BatchGetItemOutput>() {
            read = units(output.consumed_capacity());
        } else if let Some(output) = output.downcast_ref::<ScanOutput>() {
            read = units(output.consumed_capacity());
        }
        let mut count = self.0.lock().unwrap();
        count.written += written;
        count.read += read;
        Ok(())
    }
}
