//! Language codes of two letters to codes of three.

/// ISO 639-1 code and its ISO 639-2/T code, in order.
const CODES: &str = "\
aaaar ababk aeave afafr akaka amamh anarg arara asasm avava ayaym azaze babak bebel bgbul \
bhbih bibis bmbam bnben bobod brbre bsbos cacat ceche chcha cocos crcre csces cuchu cvchv \
cycym dadan dedeu dvdiv dzdzo eeewe elell eneng eoepo esspa etest eueus fafas ffful fifin \
fjfij fofao frfra fyfry gagle gdgla glglg gngrn guguj gvglv hahau heheb hihin hohmo hrhrv \
hthat huhun hyhye hzher iaina idind ieile igibo iiiii ikipk ioido isisl itita iuiku jajpn \
jvjav kakat kgkon kikik kjkua kkkaz klkal kmkhm knkan kokor krkau kskas kukur kvkom kwcor \
kykir lalat lbltz lglug lilim lnlin lolao ltlit lulub lvlav mgmlg mhmah mimri mkmkd mlmal \
mnmon mrmar msmsa mtmlt mymya nanau nbnob ndnde nenep ngndo nlnld nnnno nonor nrnbl nvnav \
nynya ococi ojoji omorm orori ososs papan pipli plpol pspus ptpor quque rmroh rnrun roron \
rurus rwkin sasan scsrd sdsnd sesme sgsag sisin skslk slslv smsmo snsna sosom sqsqi srsrp \
ssssw stsot susun svswe swswa tatam tetel tgtgk ththa titir tktuk tltgl tntsn toton trtur \
tstso tttat twtwi tytah uguig ukukr ururd uzuzb veven vivie vovol wawln wowol xhxho yiyid \
yoyor zazha zhzho zuzul";

/// The ISO 639-2/T code of a tag such as `en`, `eng` or `en-US`; `und` if it has none.
pub(super) fn three_letters(tag: &str) -> String {
    let primary = tag.split(['-', '_']).next().unwrap_or_default();
    let primary = primary.to_ascii_lowercase();
    let letters = primary.bytes().all(|byte| byte.is_ascii_lowercase());
    match (primary.len(), letters) {
        (3, true) => primary,
        (2, true) => CODES
            .split(' ')
            .find_map(|pair| pair.strip_prefix(&*primary))
            .unwrap_or("und")
            .to_owned(),
        _ => "und".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_letters_become_three() {
        for (tag, code) in [
            ("en", "eng"),
            ("de", "deu"),
            ("ja", "jpn"),
            ("zh-Hans", "zho"),
            ("PT_br", "por"),
            ("fra", "fra"),
            ("xx", "und"),
            ("", "und"),
            ("english", "und"),
        ] {
            assert_eq!(three_letters(tag), code, "{tag}");
        }
    }

    #[test]
    fn every_pair_has_five_letters() {
        assert!(CODES.split(' ').all(|pair| pair.len() == 5));
    }
}
