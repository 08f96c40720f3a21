//! The authority: a key that signs certificates of agents, and the collector's own.
//!
//! Made at the first start and kept in one file for the owner only, or given as files. Agents trust it by its
//! certificate, or by the certificate's SHA-256, which join tokens carry.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    iter,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

use super::{IdentityError, hex, key, random, rotation, sha256};

/// How long an authority of our own is good: ten years.
const LIFE: Duration = Duration::from_hours(10 * 365 * 24);
/// Clocks of agents may be behind by this.
const SKEW: Duration = Duration::from_mins(5);
/// Name of the file in the directory of identities.
const FILE: &str = "ca.pem";

/// Where the authority comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Made at the first start in this directory.
    BuiltIn(PathBuf),
    /// Given as files, PEM.
    Given {
        /// Its certificate.
        cert: PathBuf,
        /// Its key, PKCS#8.
        key: PathBuf,
    },
}

/// The authority.
#[derive(Debug)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    /// Those of the authorities before and after it, which are trusted as well.
    others: Vec<CertificateDer<'static>>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// It, DER.
    pub certificate: CertificateDer<'static>,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// When it ends.
    pub ends: SystemTime,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Pair {
    /// The certificate and the authority's.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// When it ends.
    pub ends: SystemTime,
}

impl Authority {
    /// Reads the authority, or makes it where it is our own and not there yet.
    pub fn open(source: &Source) -> Result<Self, IdentityError> {
        match source {
            Source::Given { cert, key } => Self::of(&read(cert)?, &read(key)?, cert, key),
            Source::BuiltIn(dir) => {
                make_folder(dir)?;
                let path = dir.join(FILE);
                if !path.try_exists().unwrap_or(false) {
                    make(&path)?;
                }
                let text = read(&path)?;
                let own = Self::of(&text, &text, &path, &path)?;
                rotation::FILES.iter().try_fold(own, |own, name| {
                    let path = dir.join(name);
                    if path.try_exists().unwrap_or(false) { own.trusting(Some(&path)) } else { Ok(own) }
                })
            }
        }
    }

    /// The same with the authorities of a file, PEM, which are trusted as well.
    pub fn trusting(mut self, path: Option<&Path>) -> Result<Self, IdentityError> {
        let Some(path) = path else { return Ok(self) };
        let unusable = |problem| IdentityError::Unusable { path: path.to_owned(), problem };
        let text = read(path)?;
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let certificate = certificate.map_err(|_| unusable("holds a certificate that cannot be read"))?;
            let parsed = x509_parser::parse_x509_certificate(&certificate);
            if !parsed.is_ok_and(|(_, parsed)| parsed.is_ca()) {
                return Err(unusable("holds a certificate that is not an authority's"));
            }
            found += 1;
            if certificate != self.certificate && !self.others.contains(&certificate) {
                self.others.push(certificate);
            }
        }
        if found == 0 { Err(unusable("holds no certificate")) } else { Ok(self) }
    }

    fn of(cert: &str, key: &str, cert_path: &Path, key_path: &Path) -> Result<Self, IdentityError> {
        let unusable = |path: &Path, problem| IdentityError::Unusable { path: path.to_owned(), problem };
        let certificate = CertificateDer::from_pem_slice(cert.as_bytes())
            .map_err(|_| unusable(cert_path, "holds no certificate"))?;
        let der = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| unusable(key_path, "holds no private key"))?;
        let pair = key::pkcs8(der).and_then(|der| KeyPair::try_from(&der).ok());
        let pair = pair.ok_or_else(|| unusable(key_path, "holds a key that cannot be used"))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|_| unusable(cert_path, "holds no certificate"))?;
        if !parsed.is_ca() {
            return Err(unusable(cert_path, "is not the certificate of an authority"));
        }
        if parsed.public_key().raw != pair.subject_public_key_info() {
            return Err(unusable(key_path, "is not the key of the authority's certificate"));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, pair)?;
        Ok(Self { certificate, others: Vec::new(), issuer })
    }

    /// Its certificate.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// All that are trusted, its own certificate first.
    pub fn trusted(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        iter::once(&self.certificate).chain(&self.others)
    }

    /// SHA-256 of its certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }

    /// Signs a node's request. Only its key is taken from the request, and that it is the requester's.
    pub fn sign(&self, request: &Request, node: &str, life: Duration) -> Result<Made, IdentityError> {
        let mut params = CertificateParams::new(vec![node.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, node);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (serial, ends) = dated(&mut params, life)?;
        let certificate = params.signed_by(&request.0.public_key, &self.issuer)?;
        Ok(Made { certificate: certificate.into(), serial, ends })
    }

    /// A certificate for the collector under these names.
    pub fn serve(&self, names: &[String], life: Duration) -> Result<Pair, IdentityError> {
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name.push(DnType::CommonName, "Rampart collector");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (_, ends) = dated(&mut params, life)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = vec![certificate.into(), self.certificate.clone()];
        Ok(Pair { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(), ends })
    }
}

/// A request that its sender has signed with the key in it.
#[derive(Debug)]
pub struct Request(CertificateSigningRequestParams);

impl Request {
    /// Checks a request, DER.
    pub fn of(der: &[u8]) -> Option<Self> {
        CertificateSigningRequestParams::from_der(&der.into()).ok().map(Self)
    }

    /// SHA-256 of the key, hexadecimal.
    pub fn key(&self) -> String {
        hex(&sha256(&self.0.public_key.subject_public_key_info()))
    }
}

/// When a certificate ends, seconds since the epoch.
pub fn ends_secs(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// Sets number and times; gives the number and the end.
fn dated(params: &mut CertificateParams, life: Duration) -> Result<(String, SystemTime), IdentityError> {
    let mut serial: [u8; 16] = random()?;
    // Positive, and of this length as it stands.
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let end = Duration::from_secs((now + life).as_secs());
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(SKEW);
    params.not_after = date_time_ymd(1970, 1, 1) + end;
    params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    params.use_authority_key_identifier_extension = true;
    Ok((hex(&serial), SystemTime::UNIX_EPOCH + end))
}

fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(fault("read", path))
}

/// A fault with a file.
pub(super) fn fault(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File { operation, path, source }
}

/// A directory for the owner only.
pub(super) fn make_folder(path: &Path) -> Result<(), IdentityError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fault("make", path))
}

/// Writes a file for the owner only, whole or not at all. Says whether there was none before.
pub(super) fn write_once(path: &Path, text: &str) -> Result<bool, IdentityError> {
    let other: [u8; 8] = random()?;
    let draft = path.with_extension(format!("{}.new", hex(&other)));
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    written().map_err(fault("write", &draft))?;
    // A link never replaces a file: another collector that starts at the same time may have been first.
    let linked = fs::hard_link(&draft, path);
    let _ = fs::remove_file(&draft);
    if let Some(folder) = path.parent().and_then(|folder| fs::File::open(folder).ok()) {
        folder.sync_all().map_err(fault("write", path))?;
    }
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(fault("write", path)(error)),
    }
}

/// Makes an authority where there is none.
pub(super) fn make(path: &Path) -> Result<(), IdentityError> {
    let mut params = CertificateParams::default();
    dated(&mut params, LIFE)?;
    params.distinguished_name.push(DnType::CommonName, "Rampart authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = false;
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    if write_once(path, &format!("{}{}", certificate.pem(), key.serialize_pem()))? {
        tracing::info!(path = %path.display(), "An authority for agents' certificates was made");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn request() -> (KeyPair, Request) {
        let key = KeyPair::generate().unwrap();
        // What else a request says is not taken over.
        let mut params = CertificateParams::new(vec!["other".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let request = params.serialize_request(&key).unwrap();
        (key, Request::of(request.der()).unwrap())
    }

    #[test]
    fn an_authority_is_made_once_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::BuiltIn(dir.path().join("identity"));
        let first = Authority::open(&source).unwrap();
        assert_eq!(Authority::open(&source).unwrap().fingerprint(), first.fingerprint());
        let file = dir.path().join("identity/ca.pem");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path().join("identity")).unwrap().count(), 1);
        assert!(!write_once(&file, "other").unwrap());
        assert_eq!(Authority::open(&source).unwrap().fingerprint(), first.fingerprint());
    }

    #[test]
    fn a_certificate_is_for_one_node_and_a_short_time() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(&Source::BuiltIn(dir.path().to_owned())).unwrap();
        let (_, request) = request();
        let made = authority.sign(&request, "n1", Duration::from_hours(24)).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&made.certificate).unwrap();
        assert!(!parsed.is_ca());
        assert_eq!(parsed.subject().to_string(), "CN=n1");
        assert_eq!(hex(parsed.tbs_certificate.raw_serial()), made.serial);
        let life = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
        assert!((86_400..=86_701).contains(&life), "{life}");
        let again = authority.sign(&request, "n1", Duration::from_hours(24)).unwrap();
        assert_ne!(made.serial, again.serial);
        assert!(Request::of(b"nothing").is_none());
    }

    #[test]
    fn a_given_authority_must_be_one_and_have_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let own = Authority::open(&Source::BuiltIn(path("own"))).unwrap();
        let given = Source::Given { cert: path("own/ca.pem"), key: path("own/ca.pem") };
        assert_eq!(Authority::open(&given).unwrap().fingerprint(), own.fingerprint());
        Authority::open(&Source::BuiltIn(path("other"))).unwrap();
        let plain = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        fs::write(path("plain.pem"), plain.cert.pem()).unwrap();
        fs::write(path("plain.key"), plain.signing_key.serialize_pem()).unwrap();
        for (cert, key, problem) in [
            ("own/ca.pem", "other/ca.pem", "is not the key"),
            ("plain.pem", "plain.key", "not the certificate of an authority"),
            ("plain.key", "plain.key", "holds no certificate"),
            ("own/ca.pem", "plain.pem", "holds no private key"),
            ("none", "none", "cannot read"),
        ] {
            let error = Authority::open(&Source::Given { cert: path(cert), key: path(key) }).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
        }
    }
}
