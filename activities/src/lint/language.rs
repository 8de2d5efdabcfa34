//! Languages as tracks and playlists name them (ISO 639-2, RFC 5646).

/// The two letters of ISO 639-1, the three of ISO 639-2, and the other three where bibliographers
/// have their own.
const LANGUAGES: &str = "\
    aaaar ababk aeave afafr akaka amamh anarg arara asasm avava ayaym azaze babak bebel bgbul \
    bhbih bibis bmbam bnben bobodtib brbre bsbos cacat ceche chcha cocos crcre cscescze cuchu \
    cvchv cycymwel dadan dedeuger dvdiv dzdzo eeewe elellgre eneng eoepo esspa etest eueusbaq \
    fafasper ffful fifin fjfij fofao frfrafre fyfry gagle gdgla glglg gngrn guguj gvglv hahau \
    heheb hihin hohmo hrhrv hthat huhun hyhyearm hzher iaina idind ieile igibo iiiii ikipk \
    ioido isislice itita iuiku jajpn jvjav kakatgeo kgkon kikik kjkua kkkaz klkal kmkhm knkan \
    kokor krkau kskas kukur kvkom kwcor kykir lalat lbltz lglug lilim lnlin lolao ltlit lulub \
    lvlav mgmlg mhmah mimrimao mkmkdmac mlmal mnmon mrmar msmsamay mtmlt mymyabur nanau nbnob \
    ndnde nenep ngndo nlnlddut nnnno nonor nrnbl nvnav nynya ococi ojoji omorm orori ososs \
    papan pipli plpol pspus ptpor quque rmroh rnrun roronrum rurus rwkin sasan scsrd sdsnd \
    sesme sgsag sisin skslkslo slslv smsmo snsna sosom sqsqialb srsrp ssssw stsot susun svswe \
    swswa tatam tetel tgtgk ththa titir tktuk tltgl tntsn toton trtur tstso tttat twtwi tytah \
    uguig ukukr ururd uzuzb veven vivie vovol wawln wowol xhxho yiyid yoyor zazha zhzhochi \
    zuzul \
";

/// Whether the code of a track and the first part of a tag name one language, as far as is known.
pub(super) fn agree(track: &str, primary: &str) -> bool {
    let primary = primary.to_ascii_lowercase();
    let names = |row: &&str, name: &str| {
        let (short, long) = row.split_at(2);
        match name.len() {
            2 => short == name,
            _ => long
                .as_bytes()
                .chunks(3)
                .any(|code| code == name.as_bytes()),
        }
    };
    let mut rows = LANGUAGES.split_whitespace();
    match rows.find(|row| names(row, track)) {
        Some(row) => names(&row, &primary),
        // Two letters of a language that the table does not have may be any.
        None => track == primary || primary.len() == 2 && names_none(&primary),
    }
}

fn names_none(short: &str) -> bool {
    let mut rows = LANGUAGES.split_whitespace();
    !rows.any(|row| row.starts_with(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_agree_however_they_are_named() {
        for (track, primary) in [
            ("eng", "en"),
            ("eng", "eng"),
            ("ger", "de"),
            ("deu", "ger"),
            ("cat", "CA"),
            ("tlh", "tlh"),
        ] {
            assert!(agree(track, primary), "{track} {primary}");
        }
        for (track, primary) in [("eng", "de"), ("deu", "en"), ("fra", "eng"), ("tlh", "en")] {
            assert!(!agree(track, primary), "{track} {primary}");
        }
    }
}
