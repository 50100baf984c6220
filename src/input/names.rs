//! Names of columns: which ones name emails, and whose.
//!
//! No name decides alone. It ranks columns that hold emails, tells a header from a row, and stands in where the first
//! rows hold no email.

/// What a name says about the emails in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// The emails of others, or those that somebody has besides: of an assistant, for recovery, a second one.
    Others,
    /// Nothing.
    Unknown,
    /// That there are emails, with a word before it: `Customer Email`.
    Emails,
    /// That there are emails, and nothing else: `E-Mail`, `Email Address [Required]`, `Email 1`.
    Plain,
}

/// What a list calls its emails, in small letters and without anything that is no letter.
const PLAIN: &str = "
    email emails emailaddress emailaddresses emailaddr emailid mail mailaddress eaddress emailadresse
    mailadresse emailadressen emailadres mailadres epost epostadress epostadresse mailadress mejl mejladress
    courriel courrielle adresseemail adressemail adressecourriel adresseélectronique adresseelectronique
    adressedecourriel mél correo correoelectrónico correoelectronico direccióndecorreo direcciondecorreo
    direccióndecorreoelectrónico email地址 correioeletrônico correioeletronico endereçodeemail enderecodeemail
    indirizzoemail indirizzomail postaelettronica indirizzodipostaelettronica sähköposti sahkoposti
    sähköpostiosoite sähköpostiosoitteet adresemail poczta pocztaelektroniczna adrespocztyelektronicznej
    emailováadresa emailovaadresa emailcím emailcim adresaemail adresadeemail adresăemail adresădeemail
    eposta epostaadresi elpaštas elpastas epasts epastaadrese meil meiliaadress имейл емейл эмейл почта
    эпочта электроннаяпочта элпочта адресэлектроннойпочты електроннапошта електронаадреса имејл
    ηλεκτρονικόταχυδρομείο ηλταχυδρομείο メール eメール メールアドレス eメールアドレス 電子メール 電子メールアドレス メアド 邮箱 电子邮箱 电子邮件 邮箱地址
    电子邮件地址 邮件地址 電子郵件 電郵 信箱 電子信箱 電子郵件地址 이메일 이메일주소 전자우편 메일 메일주소 البريدالإلكتروني البريدالالكتروني بريدإلكتروني
    ایمیل דואל דואראלקטרוני אימייל ईमेल ईमेलपता อีเมล อีเมล์ thưđiệntử surel alamatemail địachỉemail";

/// What longer names of such columns end with.
const ENDINGS: &str = "
    email emailaddress mail mailaddress emailadresse mailadresse emailadres epost epostadress epostadresse
    courriel correo correoelectrónico correoelectronico eposta sähköposti メール メールアドレス 邮箱 邮件 電郵 이메일 почта";

/// Words that make an email somebody else's, or one more: anywhere in the name.
const OTHERS: &str = "
    assist manager recover alternat secondary backup guardian spouse emergency supervisor referr referred
    salesrep additional previous formeremail replyto partner parent vorgesetzt ersatz weitere zweit
    secondaire secours responsable recuper récup secundari vertreter sekretär 予備 代替 上司 担当 备用 備用 резерв запас";
/// The same as whole words, which stand in longer words by chance.
const OTHERS_WORDS: &str = "
    2nd second other alt boss owner agent cc bcc old autre otro andere 副 サブ chef team group sender creator
    author by";

/// Other words that headers are made of.
const HEADER_WORDS: &str = "
    id nr number name names firstname lastname fullname givenname familyname surname phone mobile tel
    telephone address street city town zip zipcode postcode postalcode country state company organization
    organisation department title customer customers customerid customerno customernumber client clients
    member members user users username login contact contacts recipient recipients subscriber subscribers
    people person list note notes comment comments date created createdat updated joined birthday birthdate
    gender language status type category tag tags group source amount price quantity order orderid sku url
    website line reason profileid vorname nachname kunde kunden kundennr kundennummer anrede firma strasse
    straße plz ort stadt land telefon datum bemerkung notiz mitglied mitglieder nummer geburtstag prénom
    prenom nom société societe téléphone adresse ville pays codepostal remarque nombre apellido apellidos
    teléfono telefono empresa ciudad país pais cliente clientes nome cognome cidade telefone città citta
    azienda naam voornaam achternaam klant nimi etunimi sukunimi puhelin navn namn förnamn efternamn fornavn
    etternavn imię imie nazwisko jméno jmeno név nume soyad isim имя фамилия телефон имяфамилия імя όνομα
    氏名 名前 姓 名 お名前 フリガナ 会社名 電話番号 住所 番号 会員番号 姓名 名字 电话 手机 公司 電話 編號 编号 이름 성명 전화 전화번호 회사 번호 الاسم اسم שם नाम ชื่อ";

/// Whether words in a text, parted by blanks, hold this one.
fn has(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|one| one == word)
}

/// What a name says about the emails in its column.
pub(super) fn rank(name: &str) -> Rank {
    let name = without_brackets(name);
    let joined = joined(&name);
    let base = joined.trim_end_matches(|character: char| character.is_ascii_digit());
    // `Email 1` is the first, and any other number names one more.
    let is_numbered = !matches!(joined[base.len()..].trim_start_matches('0'), "" | "1");
    let says_others = OTHERS.split_whitespace().any(|word| base.contains(word))
        || words(&name).any(|word| has(OTHERS_WORDS, &word));
    let is_plain = has(PLAIN, base);
    let ends_with_it = ENDINGS.split_whitespace().any(|ending| base.ends_with(ending));
    if !is_plain && !ends_with_it {
        Rank::Unknown
    } else if says_others || is_numbered {
        Rank::Others
    } else if is_plain {
        Rank::Plain
    } else {
        Rank::Emails
    }
}

/// Whether a cell is a name for emails of any kind.
pub(super) fn names_emails(cell: &str) -> bool {
    !cell.contains('@') && rank(cell) != Rank::Unknown
}

/// Whether a cell is what headers are made of.
pub(super) fn is_header_word(cell: &str) -> bool {
    names_emails(cell) || has(HEADER_WORDS, &joined(&without_brackets(cell)))
}

/// A name without what stands in brackets, such as `[Required]`, unless nothing else does.
fn without_brackets(name: &str) -> String {
    let mut depth = 0_u32;
    let mut kept = String::new();
    for character in name.chars() {
        match character {
            '[' | '(' | '{' | '（' | '【' => depth += 1,
            ']' | ')' | '}' | '）' | '】' => depth = depth.saturating_sub(1),
            _ if depth == 0 => kept.push(character),
            _ => {}
        }
    }
    if kept.chars().any(char::is_alphanumeric) {
        kept
    } else {
        name.to_owned()
    }
}

/// A name without what spellings differ in: case, width, and all that is neither letter nor digit.
pub(super) fn joined(name: &str) -> String {
    name.chars()
        .map(narrow)
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// The words of a name in small letters; a capital amid small letters begins one, too.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut spaced = String::new();
    let mut after_small = false;
    for character in name.chars().map(narrow) {
        if after_small && character.is_uppercase() {
            spaced.push(' ');
        }
        after_small = character.is_lowercase();
        if character.is_alphanumeric() {
            spaced.extend(character.to_lowercase());
        } else {
            spaced.push(' ');
        }
    }
    spaced
        .split(' ')
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

/// The ASCII form of a full-width letter or digit.
fn narrow(character: char) -> char {
    match character {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(character) - 0xfee0).unwrap_or(character),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ranked() {
        for (rank_wanted, names) in [
            (
                Rank::Plain,
                &[
                    "email",
                    "E-Mail Address",
                    "EMAIL_ADDRESS",
                    "Email Address [Required]",
                    "e-mail *",
                    "Email 1",
                    "E-Mail-Adresse",
                    "Adresse e-mail",
                    "メールアドレス",
                    "Ｅメール",
                    "電子メール（必須）",
                    "Электронная почта",
                    "Sähköposti",
                    "EmailAddress1",
                ][..],
            ),
            (
                Rank::Emails,
                &[
                    "Customer Email",
                    "Work E_Mail",
                    "customerEmail",
                    "MERGE_EMAIL",
                    "Kunden-E-Mail",
                ],
            ),
            (
                Rank::Others,
                &[
                    "Recovery Email",
                    "Assistant Email",
                    "Alternative E-Mail",
                    "Email 2",
                    "email02",
                    "Manager's Email",
                    "Secondary email",
                    "Parent Email",
                    "otherEmail",
                    "Zweite E-Mail",
                    "予備メール",
                ],
            ),
            (
                Rank::Unknown,
                &[
                    "email_opt_in",
                    "Email Hash",
                    "Email Status",
                    "name",
                    "",
                    "[Email]x",
                    "emails sent",
                    "E-mail 1 - Value",
                ],
            ),
        ] {
            for name in names {
                assert_eq!(rank(name), rank_wanted, "{name}");
            }
        }
    }

    #[test]
    fn headers_are_made_of_known_words() {
        for word in [
            "Name",
            "First Name [Required]",
            "Kundennr.",
            "氏名",
            "Email 2",
            "customers",
            "ID",
        ] {
            assert!(is_header_word(word), "{word}");
        }
        for other in [
            "Ann Lee",
            "ann.at.example.com",
            "C-00017",
            "4711",
            "n/a",
            "",
            "ann@email",
        ] {
            assert!(!is_header_word(other), "{other}");
        }
    }
}
