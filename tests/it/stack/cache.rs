//! The stack repairs its own cache.

use domain::decision::Limits;
use domain::ports::{CacheAnswer, DenylistCache as _};
use domain::testing::contract;
use domain::time::{Clock as _, SystemClock};
use tests::environment::{stack, unique};

#[tokio::test]
async fn cut_5_an_emptied_redis_is_rebuilt_by_the_schedule_without_anyone_doing_anything() {
    let stack = stack();
    let cache = stack.cache().await.unwrap();
    let client = redis::Client::open(stack.redis_url.clone()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
    let token = contract::facts(&unique("x"), "t", SystemClock.now().timestamp());
    assert_eq!(cache.ask(&token).await.unwrap(), CacheAnswer::Incomplete);
    // Nobody is locked out meanwhile.
    let limits = Limits { max_sign_in_age: 90 * 24 * 3_600 };
    let checker =
        domain::check::Checker::new(cache.clone(), stack.store().await, std::sync::Arc::new(SystemClock), limits);
    assert_eq!(checker.check(&token).await.unwrap().refusal, None);

    let begun = std::time::Instant::now();
    while cache.ask(&token).await.unwrap() == CacheAnswer::Incomplete {
        assert!(begun.elapsed().as_secs() < 150, "the every-minute guard did not rebuild the cache");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}
