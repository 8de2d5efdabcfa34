/// ISO 639-2 codes that containers carry, and the shorter codes that RFC 5646 asks for.
const SHORTER: [(&str, &str); 36] = [
    ("ara", "ar"),
    ("bul", "bg"),
    ("ces", "cs"),
    ("cze", "cs"),
    ("chi", "zh"),
    ("zho", "zh"),
    ("dan", "da"),
    ("deu", "de"),
    ("ger", "de"),
    ("ell", "el"),
    ("gre", "el"),
    ("eng", "en"),
    ("est", "et"),
    ("fin", "fi"),
    ("fra", "fr"),
    ("fre", "fr"),
    ("heb", "he"),
    ("hin", "hi"),
    ("hrv", "hr"),
    ("hun", "hu"),
    ("ind", "id"),
    ("ita", "it"),
    ("jpn", "ja"),
    ("kor", "ko"),
    ("nld", "nl"),
    ("dut", "nl"),
    ("nor", "no"),
    ("pol", "pl"),
    ("por", "pt"),
    ("ron", "ro"),
    ("rum", "ro"),
    ("rus", "ru"),
    ("spa", "es"),
    ("swe", "sv"),
    ("tur", "tr"),
    ("ukr", "uk"),
];

/// The language tag of RFC 5646 for a code of ISO 639-2.
pub(crate) fn tag(code: &str) -> &str {
    SHORTER
        .iter()
        .find(|(long, _)| *long == code)
        .map_or(code, |(_, short)| short)
}
