//! The operator's tool. `cargo xtask` calls it; run it by hand with `--stack .local/stack.json`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use domain::decision::Limits;
use domain::time::{Clock as _, SystemClock};
use ops::failure::Result;
use ops::stack::Stack;
use ops::web::Web;
use ops::{accounts, audit, demo, dlq, import, issuer, load};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Where {
    /// Description of the running stack.
    #[arg(long)]
    stack: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Load the demo company: 10,000 users and 40,000 tokens.
    LoadCompany(Where),
    /// Log out a group of more than a thousand users, and check every claim about it.
    Demo(Where),
    /// Print an access token of somebody, obtained through the issuer.
    Token {
        #[command(flatten)]
        at: Where,
        /// Who signs in.
        #[arg(long)]
        user: String,
    },
    /// Look at the audit trail.
    Audit {
        #[command(flatten)]
        at: Where,
        #[command(subcommand)]
        what: AuditCommand,
    },
    /// Enrol accounts and sign them in at their mail providers.
    Accounts {
        #[command(flatten)]
        at: Where,
        #[command(subcommand)]
        what: AccountsCommand,
    },
    /// Look at dead letters, or send them back.
    Dlq {
        #[command(flatten)]
        at: Where,
        #[command(subcommand)]
        what: DlqCommand,
    },
    /// Import records from NDJSON, one per line.
    Import {
        #[command(flatten)]
        at: Where,
        /// The file.
        file: PathBuf,
        /// Age in seconds at which sign-ins are refused; as the stack is configured.
        #[arg(long, default_value_t = 90 * 24 * 3_600)]
        max_sign_in_age: i64,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Verify every chain, against what was published of it, and name each place that was tampered with.
    Verify,
}

#[derive(Subcommand)]
enum AccountsCommand {
    /// Import every enrolment file (*.yaml) of a folder, or none if one of them is wrong.
    Import {
        /// The folder.
        folder: PathBuf,
    },
    /// Begin sign-ins, print where to go for each, and wait until they are through.
    Signin {
        /// Whose; all active accounts that are not signed in if left out.
        users: Vec<String>,
        /// Who begins them.
        #[arg(long = "as", default_value = "security.admin@example.com")]
        admin: String,
        /// Only print where to go.
        #[arg(long)]
        no_wait: bool,
    },
}

#[derive(Subcommand)]
enum DlqCommand {
    /// How many dead letters there are, by queue.
    List,
    /// Send a queue's dead letters back to the queues they came from.
    Redrive {
        /// The queue, as `list` names it.
        queue: String,
    },
}

async fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::LoadCompany(Where { stack: path }) => {
            let stack = Stack::read(&path)?;
            load::company(&path, &stack, SystemClock.now()).await?;
            accounts::import(&stack, std::path::Path::new(accounts::DEMO)).await.map(|_| ())
        }
        Command::Demo(Where { stack: path }) => demo::demo(&path, &Stack::read(&path)?).await,
        Command::Token { at, user } => {
            let stack = Stack::read(&at.stack)?;
            println!("{}", issuer::sign_in(&stack, &Web::default(), stack.person(&user)?).await?);
            Ok(())
        }
        Command::Audit { at, what: AuditCommand::Verify } => audit::verify(&Stack::read(&at.stack)?).await,
        Command::Accounts { at, what: AccountsCommand::Import { folder } } => {
            accounts::import(&Stack::read(&at.stack)?, &folder).await.map(|_| ())
        }
        Command::Accounts { at, what: AccountsCommand::Signin { users, admin, no_wait } } => {
            accounts::sign_in(&Stack::read(&at.stack)?, &admin, users, !no_wait).await
        }
        Command::Dlq { at, what: DlqCommand::List } => dlq::list(&Stack::read(&at.stack)?).await,
        Command::Dlq { at, what: DlqCommand::Redrive { queue } } => {
            dlq::redrive(&Stack::read(&at.stack)?, &queue).await.map(drop)
        }
        Command::Import { at, file, max_sign_in_age } => {
            import::import(&Stack::read(&at.stack)?, &file, Limits { max_sign_in_age }).await.map(|_| ())
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(Cli::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
