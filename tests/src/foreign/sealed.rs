//! What is sealed: envelopes of the vault, cursors of lists, sessions.

use std::sync::{Arc, LazyLock};

use adapters::vault::SecretVault;
use domain::directory::User;
use domain::identity::Profile;
use domain::ids::{ClientId, UserId};
use domain::lists::{Filter, Lister, NoPage};
use domain::ports::SignInStore as _;
use domain::session::{Sessions, SignedIn, Used};
use domain::time::{Epoch, from_millis};
use domain::vault::Vault;

use super::{NOW, mint, wait};
use crate::door::SESSION_LIMITS;
use crate::fleet::Fleet;

static VAULT: LazyLock<Arc<SecretVault>> = LazyLock::new(|| Arc::new(SecretVault::with_secret(mint::SECRET).unwrap()));

const PURPOSES: [&str; 3] = ["session 1\nu\ns", "cursor:jobs:[]", ""];

/// Bytes as what is presented for something sealed, and as what is to be sealed.
pub fn sealed(bytes: &[u8]) -> bool {
    wait(async {
        if let Ok(text) = std::str::from_utf8(bytes) {
            for purpose in PURPOSES {
                assert_eq!(VAULT.open(purpose, text).await.unwrap(), None, "nobody sealed {text}");
            }
            cursor(text).await;
            session(text).await;
        }
        envelope(bytes).await;
    });
    // What was sealed before, by the same secret, still opens: such a text is in the corpus.
    wait(VAULT.open("corpus", &String::from_utf8_lossy(bytes))).unwrap().is_some()
}

async fn envelope(plain: &[u8]) {
    let sealed = VAULT.seal("one", plain).await.unwrap();
    let opened = VAULT.open("one", &sealed).await.unwrap().unwrap();
    assert!(opened.plain == plain && opened.current);
    assert_eq!(VAULT.open("two", &sealed).await.unwrap(), None);
    if let Some(changed) = mint::with_one_bit_changed(&sealed) {
        assert_eq!(VAULT.open("one", &changed).await.unwrap(), None, "one bit was changed: {changed}");
    }
    let mac = VAULT.mac("one", plain).await.unwrap();
    assert!(VAULT.mac_matches("one", plain, &mac).await.unwrap());
    assert!(!VAULT.mac_matches("one", plain, plain).await.unwrap(), "what is hashed is no hash of itself");
}

async fn cursor(text: &str) {
    let fleet = Fleet::in_memory(from_millis(NOW * 1_000));
    let vault: Arc<dyn Vault> = VAULT.clone();
    let lister = Lister { vault, ..fleet.lister() };
    let caller = User::unknown(UserId::parse("u").unwrap());
    let page = lister.jobs(&caller, Filter::default(), 1, Some(text)).await;
    assert!(matches!(page, Err(NoPage::Cursor)), "nobody handed out {text}");
}

async fn session(text: &str) {
    let fleet = Fleet::in_memory(from_millis(NOW * 1_000));
    let sessions = Sessions {
        store: fleet.store.clone(),
        tokens: fleet.store.clone(),
        vault: VAULT.clone(),
        clock: fleet.clock.clone(),
        ids: fleet.ids.clone(),
        limits: SESSION_LIMITS,
    };
    let user = UserId::parse("u").unwrap();
    let profile = Profile { name: Some(text.to_owned()), ..Profile::default() };
    let client = ClientId::parse("c").unwrap();
    let signed_in = SignedIn { user: user.clone(), profile, client, issuer_sid: None, at: Epoch(NOW) };
    let mut row = sessions.open(signed_in, &domain::audit::Origin::default()).await.unwrap();
    let outcome = sessions.use_one(&user, &row.id).await.unwrap();
    assert!(matches!(outcome, Used::Live(data) if data.user_data.name.as_deref() == Some(text)));
    row.sealed = Some(text.to_owned());
    fleet.store.add_session(&row, Epoch(NOW)).await.unwrap();
    assert_eq!(sessions.use_one(&user, &row.id).await.unwrap(), Used::Unreadable, "nobody sealed {text}");
    assert_eq!(sessions.list(&user).await.unwrap().len(), 1, "it can still be seen, and ended");
}
