//! Addresses that keep their common prefixes and nothing else: Crypto-PAn (Xu, Fan, Ammar and Moon,
//! "Prefix-Preserving IP Address Anonymization", 2002) with AES. Pure.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use aes::Aes128;
use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncrypt, KeyInit};
use serde::{Deserialize, Serialize};

/// Bytes of a key: the cipher's, and those that the padding is made of.
pub const KEY_BYTES: usize = 32;

/// A secret key; written as 64 hexadecimal digits, as `openssl rand -hex 32` prints them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(pub [u8; KEY_BYTES]);

/// What was read is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 64 hexadecimal digits: make one with `openssl rand -hex 32`")]
pub struct NoKey;

impl FromStr for Key {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let mut key = [0; KEY_BYTES];
        if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoKey);
        }
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| NoKey)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NoKey)?;
        }
        Ok(Self(key))
    }
}

impl TryFrom<String> for Key {
    type Error = NoKey;

    fn try_from(text: String) -> Result<Self, NoKey> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Key {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// One key's way to change addresses. Two that have the first n bits in common have them in
/// common afterwards, and no further one; without the key there is no way back.
#[derive(Clone)]
pub struct CryptoPan {
    cipher: Aes128,
    pad: u128,
}

impl CryptoPan {
    #[must_use]
    pub fn new(key: &Key) -> Self {
        let (cipher, pad) = key.0.split_at(KEY_BYTES / 2);
        let cipher = Aes128::new(GenericArray::from_slice(cipher));
        let mut block = GenericArray::clone_from_slice(pad);
        cipher.encrypt_block(&mut block);
        Self {
            cipher,
            pad: u128::from_be_bytes(block.into()),
        }
    }

    /// What `address` is called.
    #[must_use]
    pub fn address(&self, address: Ipv4Addr) -> Ipv4Addr {
        let whole = u128::from(address.to_bits()) << 96;
        // Each bit is turned or not by the bits before it alone.
        let turned = (0..u32::BITS).fold(0, |turned, place| {
            let known = !(u128::MAX >> place);
            turned << 1 | self.bit(whole & known | self.pad & !known)
        });
        Ipv4Addr::from_bits(address.to_bits() ^ turned)
    }

    /// The first bit of a block's cipher text.
    fn bit(&self, block: u128) -> u32 {
        let mut block = GenericArray::from(block.to_be_bytes());
        self.cipher.encrypt_block(&mut block);
        u32::from(block[0] >> 7)
    }
}

impl fmt::Debug for CryptoPan {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CryptoPan")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Key and addresses of the sample in the authors' reference distribution.
    const SAMPLE_KEY: [u8; KEY_BYTES] = [
        21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16, 216, 152, 143, 131,
        121, 121, 101, 39, 98, 87, 76, 45, 42, 132, 34, 2,
    ];

    #[test]
    fn a_key_is_64_digits() {
        let text = "152217".to_owned() + &"0f".repeat(29);
        let key: Key = text.parse().unwrap();
        assert_eq!(
            (key.0[..4].to_vec(), String::from(key)),
            (vec![0x15, 0x22, 0x17, 0x0f], text)
        );
        for wrong in [
            "",
            "0f",
            &"0g".repeat(32),
            &"0f".repeat(33),
            &"+f".repeat(32),
        ] {
            assert_eq!(wrong.parse::<Key>(), Err(NoKey), "{wrong}");
        }
    }

    #[test]
    fn the_addresses_of_the_reference_sample() {
        let pan = CryptoPan::new(&Key(SAMPLE_KEY));
        for (raw, sanitized) in [
            ("128.11.68.132", "135.242.180.132"),
            ("129.118.74.4", "134.136.186.123"),
            ("130.132.252.244", "133.68.164.234"),
            ("141.223.7.43", "141.167.8.160"),
            ("141.233.145.108", "141.129.237.235"),
            ("152.163.225.39", "151.140.114.167"),
            ("156.29.3.236", "147.225.12.42"),
            ("165.247.96.84", "162.9.99.234"),
            ("192.102.249.13", "252.138.62.131"),
            ("192.41.57.43", "252.222.221.184"),
            ("198.36.213.5", "249.7.21.132"),
            ("205.188.147.153", "242.96.16.101"),
            ("205.188.248.25", "242.96.88.27"),
            ("216.35.217.178", "235.195.157.81"),
            ("24.0.250.221", "100.15.198.226"),
            ("4.3.88.225", "124.60.155.63"),
            ("63.97.7.140", "95.97.9.123"),
            ("64.14.118.196", "0.255.183.58"),
            ("10.185.25.118", "117.161.29.118"),
        ] {
            let raw: Ipv4Addr = raw.parse().unwrap();
            assert_eq!(pan.address(raw).to_string(), sanitized, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn as_many_first_bits_are_common_as_before(key: [u8; KEY_BYTES], one: u32, at in 0..32_u32, rest: u32) {
            // The same first `at` bits, another one then, anything behind.
            let tail = u32::MAX.checked_shr(at + 1).unwrap_or(0);
            let other = (one ^ 1 << (31 - at)) & !tail | rest & tail;
            let pan = CryptoPan::new(&Key(key));
            let [one, other] = [one, other].map(|bits| pan.address(Ipv4Addr::from_bits(bits)).to_bits());
            prop_assert_eq!((one ^ other).leading_zeros(), at);
        }

        #[test]
        fn another_key_gives_other_names(key: [u8; KEY_BYTES], byte in 0..KEY_BYTES) {
            let mut other = key;
            other[byte] ^= 1;
            let names = |key| {
                let pan = CryptoPan::new(&Key(key));
                (0..64_u32).map(|n| pan.address(Ipv4Addr::from_bits(n * 0x0301_0101))).collect::<Vec<_>>()
            };
            prop_assert_ne!(names(key), names(other));
        }
    }
}
