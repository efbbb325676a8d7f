//! What proves that an event is ours: an HMAC-SHA256 over its id, the time and its body, as the specification *Standard
//! Webhooks* has it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

use super::unusable;
use crate::error::Result;

/// How a secret begins that is given in base64.
const IN_BASE64: &str = "whsec_";

/// The key that sender and receiver share.
#[derive(Debug)]
pub(super) struct SigningKey(hmac::Key);

impl SigningKey {
    /// The key of a secret: its bytes, or after `whsec_` its base64.
    ///
    /// # Errors
    /// `invalid_request` for base64 that is none.
    pub(super) fn new(secret: &str) -> Result<Self> {
        let bytes = match secret.strip_prefix(IN_BASE64) {
            Some(encoded) => {
                STANDARD.decode(encoded).map_err(|_| unusable("webhook.secret is not base64 after whsec_"))?
            }
            None => secret.as_bytes().to_vec(),
        };
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The value of the header `webhook-signature` for an event that is sent at this time, in seconds since 1970.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the libraries of Standard Webhooks.
        let key = SigningKey::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_text_or_base64_and_another_one_signs_otherwise() {
        let sign = |secret: &str| SigningKey::new(secret).unwrap().sign("a", 1, b"x");
        assert_eq!(sign("key"), sign("whsec_a2V5"));
        assert_ne!(sign("key"), sign("kez"));
        assert!(SigningKey::new("whsec_*").is_err());
    }
}
