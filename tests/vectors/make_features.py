"""Makes the vectors of the features: made-up texts of many scripts, their tokens, words, buckets and numbers.

    python -m tests.vectors.make_features

Whoever writes the features in another language checks them against `features.json`. The tests check that these are what
this version makes, and what a second writing of the specification makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from privacy.features.encoding import number_texts
from privacy.features.ngrams import hash_texts
from privacy.features.normalising import normalise
from privacy.features.tokenising import tokens, words
from privacy.features.unicode import UNICODE_VERSION
from privacy.task.task import FeatureSpec, SequenceSpec

VECTORS = Path(__file__).with_name("features.json")
NGRAMS = FeatureSpec(buckets=1_024)
WORDS = SequenceSpec(unit="words", vocabulary=1_024, length=16)
CHARACTERS = SequenceSpec(unit="characters", vocabulary=1_024, length=16)
TEXTS = {
    "Latin": "Ｈello, HELLO  Straße!",
    "Latin, Turkish": "İYİ günler, ISPARTA ılık",
    "Latin, Vietnamese": "Chúc bạn một ngày tốt lành",
    "Greek": "Καλημέρα ΚΌΣΜΕ ᾳ ᾼ",
    "Cyrillic": "Доброе УТРО, ёлка",
    "Armenian": "Բարեւ և ԲԱՐԵՒ",
    "Georgian": "გამარჯობა ᲒᲐᲛᲐᲠᲯᲝᲑᲐ",
    "Hebrew": "שָׁלוֹם עולם",
    "Arabic": "السَّلامُ عليكم ﷺ",
    "Persian": "می\u200cخواهم بروم",
    "Syriac": "ܫܠܡܐ ܠܟ",
    "Thaana": "އައްސަލާމް",
    "Devanagari": "नमस्ते दुनिया, क़लम",
    "Bengali": "শুভ সকাল কোথায়",
    "Gurmukhi": "ਸਤ ਸ੍ਰੀ ਅਕਾਲ",
    "Gujarati": "શુભ સવાર",
    "Oriya": "ଶୁଭ ସକାଳ",
    "Tamil": "காலை வணக்கம் கொடி",
    "Telugu": "శుభోదయం మిత్రమా",
    "Kannada": "ಶುಭೋದಯ ಗೆಳೆಯ",
    "Malayalam": "സുപ്രഭാതം കൂട്ടുകാരേ",
    "Sinhala": "සුබ උදෑසනක්",
    "Thai": "สวัสดีตอนเช้า น้ำ",
    "Lao": "ສະບາຍດີຕອນເຊົ້າ",
    "Khmer": "អរុណសួស្តី",
    "Myanmar": "မင်္ဂလာပါ",
    "Tibetan": "བཀྲ་ཤིས་བདེ་ལེགས།",
    "Ethiopic": "እንደምን አደሩ።",
    "Cherokee": "ᏏᏲ ꮟᏺ",
    "Hangul": "좋은 아침 ㅋㅋㅋ 가",
    "Han": "早上好，朋友們！iPhone手机",
    "Hiragana and Katakana": "おはようございます ｶﾞｰﾄﾞﾏﾝ ㌔",
    "Bopomofo": "ㄅㄆㄇ 早",
    "Yi": "ꆈꌠꉙ",
    "Mongolian": "ᠰᠠᠢᠨ ᠪᠠᠢᠨ\u180e",
    "Cuneiform, beyond U+FFFF": "𒀭𒈹 𐐀𐐁",
    "Emoji": "👨\u200d👩\u200d👧 1\ufe0f\u20e3 ❤\ufe0f!!",
    "Marks alone": "\u0301 a\u0301\u0323 ☺\u0308",
    "Hidden characters": "so\u200bft\u00adhy\u2060phen",
    "Surrogates": "a\ud83d\ude00b \ud83d",
    "White space": " \t a\u2003\u3000b\u2028c\x85\n",
    "Unassigned and private": "\u0378x \ue000y \U000e0001",
    "Nothing": " \u200b\t",
}


def vectors() -> dict[str, Any]:
    """Return what the vectors' file holds."""
    return {
        "unicode": UNICODE_VERSION,
        "ngrams": NGRAMS.model_dump(mode="json"),
        "words": WORDS.model_dump(mode="json"),
        "characters": CHARACTERS.model_dump(mode="json"),
        "texts": [_vector(name, text) for name, text in TEXTS.items()],
    }


def _vector(name: str, text: str) -> dict[str, Any]:
    normal = normalise(text)
    row = hash_texts(NGRAMS, [text])
    return {
        "script": name,
        "text": text,
        "normal": normal,
        "tokens": tokens(normal),
        "words": words(normal),
        "buckets": row.columns.tolist(),
        "values": [round(float(value), 6) for value in row.values],
        "word_numbers": number_texts(WORDS, [text]).numbers.tolist(),
        "character_numbers": number_texts(CHARACTERS, [text]).numbers.tolist(),
    }


if __name__ == "__main__":
    VECTORS.write_text("\n".join([json.dumps(vectors(), indent=1)]) + "\n", "ascii")
