//! `dlq list` and `dlq redrive`: what the workers gave up, and another try at it.

use adapters::dead_letters::{DeadLetters, Moved};

use crate::failure::{Context as _, Failure, Result};
use crate::stack::Stack;

/// Prints how many dead letters there are.
pub async fn list(stack: &Stack) -> Result<()> {
    let letters = DeadLetters::new(&stack.aws().await);
    for (name, queue) in &stack.queues.dead_letters {
        let count = letters.count(queue).await.context(name)?;
        println!("  {name:<16} {count}");
    }
    Ok(())
}

/// Sends a queue's dead letters back to where they came from, and says what it did.
pub async fn redrive(stack: &Stack, name: &str) -> Result<Moved> {
    let queue = stack.queues.dead_letters.get(name).ok_or_else(|| {
        let known: Vec<&str> = stack.queues.dead_letters.keys().map(String::as_str).collect();
        Failure(format!("there is no queue {name}; these are: {}", known.join(", ")))
    })?;
    let moved = DeadLetters::new(&stack.aws().await).redrive(queue).await.context(name)?;
    for (source, count) in &moved.back {
        println!("  {count} back to {source}");
    }
    if moved.stay > 0 {
        println!("  {} stay: they came from no queue", moved.stay);
    }
    if moved == Moved::default() {
        println!("  nothing there");
    }
    Ok(moved)
}
