//! Why something was refused and what to do, in the language of the page.

use axum::http::StatusCode;
use pushkeys_keys::{KEY_TEXT_BYTES_MAX, NAME_BYTES_MAX, ParseNameError, Refusal};

use super::messages::{Messages, fill};
use super::text::Sentence;
use crate::code_flow::CodeFlowError;
use crate::language::Language;
use crate::oidc::{IdTokenError, SignInError};
use crate::outbound::Remedy;
use crate::store::{PutKeyError, SetIdentityError};

/// Parts of the French sentences.
const NEW_KEY: &str = "créez une nouvelle clé avec `ssh-keygen -t ed25519`";
const COPY_AGAIN: &str = "copiez à nouveau toute la ligne de votre fichier `.pub`";
const PRINT_AGAIN: &str = "affichez à nouveau la clé avec `ssh-keygen -y -f FICHIER_DE_CLE_PRIVEE`";

/// A key that the policy refuses.
pub(super) fn key(refusal: &Refusal, language: Language) -> Sentence {
    match language {
        Language::English => Sentence::new(&refusal.to_string()),
        Language::French => Sentence::new(&french(refusal)),
    }
}

/// A text that is not a name.
pub(super) fn name(error: ParseNameError, texts: &Messages) -> Sentence {
    let max = NAME_BYTES_MAX.to_string();
    let named = |text: &str, character: char, place: usize| {
        let character = format!("U+{:04X}", u32::from(character));
        fill(text, &[("character", &character), ("place", &place.to_string())])
    };
    Sentence::new(&match error {
        ParseNameError::Empty => texts.name_empty.to_owned(),
        ParseNameError::TooLong(bytes) => {
            fill(texts.name_long, &[("bytes", &bytes.to_string()), ("max", &max)])
        }
        ParseNameError::Character { character, place } => named(texts.name_character, character, place),
        ParseNameError::Unseen { character, place } => named(texts.name_unseen, character, place),
        ParseNameError::PathStep => texts.name_path_step.to_owned(),
    })
}

/// A key that the account cannot have under the name `wanted`; `None`: the database failed.
pub(super) fn put(error: &PutKeyError, wanted: &str, texts: &Messages) -> Option<Sentence> {
    Some(Sentence::new(&match error {
        PutKeyError::OfAnotherAccount => texts.key_of_another.to_owned(),
        PutKeyError::UnderAnotherName { name } => fill(texts.key_under_another_name, &[("name", name)]),
        PutKeyError::NameTaken => fill(texts.name_taken, &[("name", wanted)]),
        PutKeyError::TooMany { max } => fill(texts.key_too_many, &[("max", &max.to_string())]),
        PutKeyError::Compromised => texts.key_compromised.to_owned(),
        PutKeyError::SharedFactor => texts.key_shared_factor.to_owned(),
        PutKeyError::NoChallenge => texts.proof_none.to_owned(),
        PutKeyError::AccountGone => texts.account_gone.to_owned(),
        PutKeyError::Store(_) => return None,
    }))
}

/// A failed sign-in at the OpenID provider, which is called `label`; with the status of the response.
pub(super) fn sign_in(error: &SignInError, label: &str, texts: &Messages) -> (StatusCode, String) {
    match error {
        SignInError::Flow(CodeFlowError::NoAttempt) => {
            (StatusCode::BAD_REQUEST, texts.external_no_attempt.to_owned())
        }
        SignInError::Flow(CodeFlowError::Refused { reason, remedy }) => {
            (StatusCode::FORBIDDEN, external_refused(label, reason, *remedy, texts))
        }
        SignInError::IdToken(IdTokenError::NoAuthTime(_) | IdTokenError::OldAuthTime { .. }) => {
            (StatusCode::FORBIDDEN, fill(texts.oidc_not_confirmed, &[("name", label)]))
        }
        SignInError::IdToken(_) | SignInError::Issuer => {
            (StatusCode::FORBIDDEN, fill(texts.oidc_not_verified, &[("name", label)]))
        }
        SignInError::Flow(error) => external_failed(label, error.remedy(), texts),
        SignInError::Provider(error) => external_failed(label, error.remedy(), texts),
    }
}

/// The message for a refusal by the service that users know as `label`.
pub(super) fn external_refused(label: &str, reason: &str, remedy: Remedy, texts: &Messages) -> String {
    let text = match remedy {
        Remedy::Repeat | Remedy::Wait => texts.external_refused,
        Remedy::Operator => texts.external_refused_setup,
    };
    fill(text, &[("name", label), ("reason", reason)])
}

/// The status of the page and the message for a failure of the service that users know as `label`.
pub(super) fn external_failed(label: &str, remedy: Remedy, texts: &Messages) -> (StatusCode, String) {
    let (status, text) = match remedy {
        Remedy::Repeat | Remedy::Wait => (StatusCode::SERVICE_UNAVAILABLE, texts.external_unavailable),
        Remedy::Operator => (StatusCode::BAD_GATEWAY, texts.external_broken),
    };
    (status, fill(text, &[("name", label)]))
}

/// An identity that was not linked; `None`: the database failed.
pub(super) fn tie(error: &SetIdentityError, texts: &Messages) -> Option<&'static str> {
    match error {
        SetIdentityError::OfAnotherAccount => Some(texts.oidc_of_another),
        SetIdentityError::NameTaken { .. } => Some(texts.oidc_name_taken),
        SetIdentityError::AccountGone => Some(texts.account_gone),
        SetIdentityError::OnlyWay => Some(texts.oidc_only_way),
        SetIdentityError::Store(_) => None,
    }
}

/// A new refusal without a text here does not compile.
fn french(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Empty => "il n’y a pas de clé ici : collez l’unique ligne de votre fichier `.pub`".into(),
        Refusal::TooLong => format!(
            "le texte dépasse {} Kio, ce qu’aucune clé publique ne fait : collez l’unique ligne de votre fichier `.pub`",
            KEY_TEXT_BYTES_MAX / 1024
        ),
        Refusal::PrivateKey => format!(
            "ceci est une clé privée : elle n’a pas été enregistrée, mais considérez-la comme exposée et {NEW_KEY} ; collez ensuite le fichier `.pub`, jamais le fichier sans `.pub`"
        ),
        Refusal::Ssh2PublicKey => "ceci est une clé publique au format SSH2 : convertissez-la avec `ssh-keygen -i -f FICHIER` et collez la ligne affichée".into(),
        Refusal::Pkcs8PublicKey => "ceci est une clé publique au format PEM : convertissez-la avec `ssh-keygen -i -m PKCS8 -f FICHIER` et collez la ligne affichée".into(),
        Refusal::Pkcs1PublicKey => "ceci est une clé publique RSA au format PEM : convertissez-la avec `ssh-keygen -i -m PEM -f FICHIER` et collez la ligne affichée".into(),
        Refusal::MoreThanOneLine => "le texte compte plusieurs lignes : ajoutez les clés une à une, chacune sur une seule ligne".into(),
        Refusal::ControlCharacter { character, place } => format!(
            "le texte contient le caractère de contrôle U+{:04X} (en position {place}) : {COPY_AGAIN}",
            u32::from(*character)
        ),
        Refusal::StrayCharacter { character, place } => format!(
            "le texte contient le caractère U+{:04X} (en position {place}), qui n’a pas sa place dans une clé : {COPY_AGAIN}, et non depuis une page ou un courriel",
            u32::from(*character)
        ),
        Refusal::Command => "ceci est une commande, pas une clé : exécutez-la dans un terminal, puis collez l’unique ligne du fichier `.pub` qu’elle écrit".into(),
        Refusal::ExperimentalType => "`ssh-mldsa44-ed25519@openssh.com` était une expérience d’OpenSSH 10.4, que les versions suivantes ne lisent pas : créez une nouvelle clé avec `ssh-keygen -t mldsa44-ed25519` d’OpenSSH 10.6".into(),
        Refusal::Options => "quelque chose précède la clé, comme des options ou un nom de machine : collez la ligne à partir de son type, par exemple `ssh-ed25519 AAAA…`".into(),
        Refusal::TypeMissing => "il manque le type de la clé : collez toute la ligne, avec le mot qui précède `AAAA…`".into(),
        Refusal::NotAKey => "ceci n’est pas une clé publique SSH : collez l’unique ligne de votre fichier `.pub`, qui commence comme `ssh-ed25519 AAAA…`".into(),
        Refusal::UnknownType(name) => format!("les clés de type `{name}` ne sont pas acceptées : {NEW_KEY}"),
        Refusal::Certificate => "ceci est un certificat, pas une clé publique : collez le fichier `.pub` de la clé elle-même, pas celui qui se termine par `-cert.pub`".into(),
        Refusal::Dsa => format!("les clés DSA sont trop faibles et ne sont plus prises en charge : {NEW_KEY}"),
        Refusal::DataMissing => "la ligne s’arrête après le type de la clé : collez toute la ligne de votre fichier `.pub`".into(),
        Refusal::Base64 => format!("la clé est abîmée, ce n’est pas du base64 correct : {COPY_AGAIN}"),
        Refusal::Truncated => format!("la clé est tronquée : {COPY_AGAIN}"),
        Refusal::TrailingBytes => format!("il y a des données après la fin de la clé : {COPY_AGAIN}"),
        Refusal::TypeMismatch(algorithm) => format!(
            "la ligne annonce `{algorithm}`, mais la clé est d’un autre type : {COPY_AGAIN}"
        ),
        Refusal::Number => format!("un nombre de la clé n’est pas sous sa forme la plus courte : {PRINT_AGAIN}"),
        Refusal::Negative => format!("un nombre de la clé est négatif, ce qu’aucune vraie clé n’a : {NEW_KEY}"),
        Refusal::Ed25519Length(bytes) => format!("une clé Ed25519 fait 32 octets, celle-ci {bytes} : {COPY_AGAIN}"),
        Refusal::Ed25519NonCanonical => format!("la clé n’est pas sous la seule forme valide d’Ed25519 : {NEW_KEY}"),
        Refusal::Ed25519OffCurve => format!("la clé n’est pas un point de la courbe Ed25519 : {COPY_AGAIN}"),
        Refusal::Ed25519SmallOrder => format!(
            "n’importe qui pourrait imiter les signatures de cette clé (son point est d’ordre petit) : {NEW_KEY}"
        ),
        Refusal::MlDsaLength(bytes) => format!("une clé de type ssh-mldsa44-ed25519 fait 1344 octets, celle-ci {bytes} : {COPY_AGAIN}"),
        Refusal::MlDsaDegenerate => "n’importe qui pourrait imiter les signatures de cette clé (sa moitié ML-DSA est dégénérée) : créez une nouvelle clé avec `ssh-keygen -t mldsa44-ed25519`".into(),
        Refusal::EcdsaCurve(algorithm) => format!("la clé nomme une autre courbe que celle de `{algorithm}` : {COPY_AGAIN}"),
        Refusal::EcdsaIdentity => format!("la clé est le point à l’infini, ce qu’aucune vraie clé n’est : {NEW_KEY}"),
        Refusal::EcdsaCompressed => format!("le point de la clé est compressé, ce qu’OpenSSH ne lit pas : {PRINT_AGAIN}"),
        Refusal::EcdsaForm(algorithm) => format!("le point de la clé n’a pas la forme de `{algorithm}` : {COPY_AGAIN}"),
        Refusal::EcdsaOffCurve => format!("la clé n’est pas un point de sa courbe : {COPY_AGAIN}"),
        Refusal::EcdsaCoordinate => format!("le point de la clé est de ceux qu’OpenSSH refuse : {NEW_KEY}"),
        Refusal::RsaTooSmall(bits) => format!("la clé RSA fait {bits} bits, et il en faut au moins 2048 : {NEW_KEY}"),
        Refusal::RsaTooLarge(bits) => format!("la clé RSA fait {bits} bits, et OpenSSH en lit au plus 16384 : {NEW_KEY}"),
        Refusal::RsaModulusEven => format!("le module de la clé RSA est pair, n’importe qui peut la casser : {NEW_KEY}"),
        Refusal::RsaExponentEven => format!("l’exposant de la clé RSA est pair, ce qu’aucune vraie clé n’a : {NEW_KEY}"),
        Refusal::RsaExponentSmall => format!(
            "l’exposant de la clé RSA est inférieur à 65537, ce qui facilite l’imitation de signatures : {NEW_KEY}"
        ),
        Refusal::RsaExponentLarge => format!(
            "l’exposant de la clé RSA n’est pas inférieur à son module, ce qu’aucune vraie clé n’a : {NEW_KEY}"
        ),
        Refusal::RsaExponentLong(bits) => format!(
            "l’exposant de la clé RSA fait {bits} bits, et sshd en accepte au plus 64 avec un module de plus de 3072 bits, donc cette clé ne pourrait pas se connecter : {NEW_KEY}"
        ),
        Refusal::RsaModulusPrime => format!("n’importe qui peut casser cette clé RSA, son module est un seul nombre premier au lieu de deux : {NEW_KEY}"),
        Refusal::RsaPrivateExponentShort => format!("cette clé RSA peut être cassée, son exposant privé est trop court : {NEW_KEY}"),
        Refusal::SkApplication => "l’application de la clé de sécurité n’est pas un court texte ASCII imprimable : créez une nouvelle clé avec `ssh-keygen -t ed25519-sk`".into(),
        Refusal::Published => format!("la moitié privée de cette clé a été publiée, n’importe qui peut s’en servir : {NEW_KEY}"),
        Refusal::Roca => "cette clé RSA vient d’une puce défectueuse et peut être cassée (ROCA, CVE-2017-15361) : créez une nouvelle clé sur un ordinateur avec `ssh-keygen -t ed25519`".into(),
        Refusal::ClosePrimes => format!("cette clé RSA peut être cassée, ses deux nombres premiers sont trop proches : {NEW_KEY}"),
        Refusal::SmallFactor => format!("cette clé RSA peut être cassée ou est abîmée, son module a un petit facteur : {NEW_KEY}"),
    }
}

#[cfg(test)]
mod tests {
    use pushkeys_keys::Algorithm;

    use super::*;

    /// One of each variant.
    fn all() -> Vec<Refusal> {
        let algorithm: Algorithm = Algorithm::Ed25519;
        vec![
            Refusal::Empty,
            Refusal::TooLong,
            Refusal::PrivateKey,
            Refusal::Ssh2PublicKey,
            Refusal::Pkcs8PublicKey,
            Refusal::Pkcs1PublicKey,
            Refusal::MoreThanOneLine,
            Refusal::ControlCharacter { character: '\u{7}', place: 1 },
            Refusal::StrayCharacter { character: '\u{200b}', place: 1 },
            Refusal::Command,
            Refusal::ExperimentalType,
            Refusal::Options,
            Refusal::TypeMissing,
            Refusal::NotAKey,
            Refusal::UnknownType("x".into()),
            Refusal::Certificate,
            Refusal::Dsa,
            Refusal::DataMissing,
            Refusal::Base64,
            Refusal::Truncated,
            Refusal::TrailingBytes,
            Refusal::TypeMismatch(algorithm),
            Refusal::Number,
            Refusal::Negative,
            Refusal::Ed25519Length(31),
            Refusal::Ed25519NonCanonical,
            Refusal::Ed25519OffCurve,
            Refusal::Ed25519SmallOrder,
            Refusal::MlDsaLength(1),
            Refusal::MlDsaDegenerate,
            Refusal::EcdsaCurve(algorithm),
            Refusal::EcdsaIdentity,
            Refusal::EcdsaCompressed,
            Refusal::EcdsaForm(algorithm),
            Refusal::EcdsaOffCurve,
            Refusal::EcdsaCoordinate,
            Refusal::RsaTooSmall(1024),
            Refusal::RsaTooLarge(20_000),
            Refusal::RsaModulusEven,
            Refusal::RsaExponentEven,
            Refusal::RsaExponentSmall,
            Refusal::RsaExponentLarge,
            Refusal::RsaExponentLong(65),
            Refusal::RsaModulusPrime,
            Refusal::RsaPrivateExponentShort,
            Refusal::SkApplication,
            Refusal::Published,
            Refusal::Roca,
            Refusal::ClosePrimes,
            Refusal::SmallFactor,
        ]
    }

    #[test]
    fn every_refusal_has_a_sentence_with_a_cure_in_both_languages() {
        for refusal in all() {
            let sentence = french(&refusal);
            assert!(sentence.contains("\u{a0}: "), "{refusal:?}: {sentence}");
            assert_eq!(sentence.matches('`').count() % 2, 0, "{refusal:?}: {sentence}");
            assert_eq!(refusal.to_string().matches('`').count() % 2, 0, "{refusal:?}");
        }
    }
}
