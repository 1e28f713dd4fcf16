//! The store contracts on the stack's own DynamoDB.

use domain::testing::contract;
use domain::time::{Clock as _, SystemClock};
use tests::environment::{stack, unique};

#[tokio::test]
async fn the_stacks_dynamodb_keeps_the_contracts_of_all_stores() {
    contract::all_stores(stack().store().await, &unique("s"), SystemClock.now()).await;
}
