#include "core/pgoutput_decoder.hpp"

#include "core/byte_reader.hpp"
#include "core/error.hpp"
#include "data/change_text.hpp"
#include "data/pgoutput_recording.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

using test::ChangeText;
using test::ExactCopy;
using test::FromHex;
using test::kPgoutputRecording;

const char *const kRecordedRows[] = {
    "insert public.item new (id*='1' name='plain' price='12.50' active='t' note=null)",
    "insert public.item new (id*='2' name='quote \" back \\ slash \n t'...38 price='0.00' act"
    "ive='f' note='TTTTTTTTTTTTTTTTTTTTTTTT'...2100)",
    "insert public.item new (id*='9223372036854775807' name='ünïcödé 😀 \xe2\x80\xa8' price='9"
    "999999999.99' active=null note='')",
    "update public.item new (id*='2' name='renamed' price='0.00' active='f' note=unchanged)",
    "update public.item key (id*='2') new (id*='3' name='renamed' price='0.00' active='f' not"
    "e=unchanged)",
    "update public.item new (id*='3' name='renamed' price='0.00' active='f' note=null)",
    "delete public.item key (id*='3')",
    "insert public.full_identity new (a*='1' b*='one' c*='{\"k\": [1, 2, {\"x\": null}'...26)",
    "insert public.full_identity new (a*='1' b*='one' c*='{\"k\": [1, 2, {\"x\": null}'...26)",
    "insert public.full_identity new (a*=null b*=null c*=null)",
    "update public.full_identity full (a*=null b*=null c*=null) new (a*=null b*='uno' c*=null"
    ")",
    "delete public.full_identity full (a*='1' b*='one' c*='{\"k\": [1, 2, {\"x\": null}'...26"
    ")",
    "insert public.by_index new (x='1' y*='why' z*='26')",
    "update public.by_index new (x='2' y*='why' z*='26')",
    "update public.by_index key (y*='why' z*='26') new (x='2' y*='why' z*='27')",
    "delete public.by_index key (y*='why' z*='27')",
    "insert Odd \"Schema.Täble\\ 😀 new (Kéy*='1' quo\"te='\"' new\nline='x')",
    "update Odd \"Schema.Täble\\ 😀 new (Kéy*='1' quo\"te='y' new\nline='x')",
    "insert public.typed new (id*='1' m='happy' b='\\xdeadbeef' d='7' f='0.30000000000000004'"
    " n='0.0000000000000000000000'...132 bits='101' ts='2026-01-02 03:04:05.678+'...26 arr='{"
    "a,NULL,\"c,d\"}' j='{\"a\": \"\\\\u20ac\"}')",
    "insert public.typed new (id*='2' m='sad' b='\\x' d='1' f='NaN' n='Infinity' bits='' ts='"
    "infinity' arr='{}' j='null')",
    "insert public.typed new (id*='3' m=null b=null d=null f='-1.5e+300' n='12345678901234567"
    "8901234'...40 bits=null ts=null arr=null j=null)",
    "insert public.no_columns",
    "insert public.parent new (id*='1')",
    "insert public.child new (id*='1' parent_id='1')",
    "truncate public.parent public.child cascade restart",
    "truncate public.item",
    "insert public.item new (id*='12' name='kept' price='1.00' active='t' note='')",
    "insert public.item new (id*='13' name='wider' price='1.00' active='t' note='' extra='6')",
    "insert public.item new (id*='14' name='narrower' active='t' note='' extra='7')",
    "update public.item new (id*='14' title='changed' active='t' note='' extra='7')",
    "insert public.item new (id*='15' title='origin' active='f' note='' extra='8')",
};

class PgoutputDecoderTest : public ::testing::Test {
  protected:
    // Relation 5: public.t (a int4, the key; b text).
    static std::string
    RelationMessage() {
        return FromHex("52000000057075626c696300740064000201610000000017ffffffff"
                       "00620000000019ffffffff");
    }

    std::string
    DecodeText(std::string_view payload) {
        const ExactCopy copy(payload);
        decoder_.Decode(Lsn{0x1234}, copy.view(), change_);
        return ChangeText(change_); // while the copy lives
    }
    std::string
    DecodeHex(std::string_view hex) {
        return DecodeText(FromHex(hex));
    }

    // Expects an Error that says where and what, and nothing of the row.
    void
    ExpectError(std::string_view payload, std::string_view message = "") {
        try {
            DecodeText(payload);
            ADD_FAILURE() << "accepted " << FirstBytes(payload, 64);
        } catch (const Error &error) {
            EXPECT_EQ(error.sqlstate(), sqlstate::kProtocolViolation);
            EXPECT_NE(error.message().find(message), std::string::npos) << error.message();
            EXPECT_NE(error.detail().find("0/1234"), std::string::npos) << error.detail();
        }
    }
    void
    ExpectHexError(std::string_view hex, std::string_view message = "") {
        ExpectError(FromHex(hex), message);
    }

    PgoutputDecoder decoder_;
    Change change_;
};

TEST_F(PgoutputDecoderTest, DecodesRecording) {
    size_t row = 0;
    size_t begins = 0;
    size_t commits = 0;
    for (const auto &message : kPgoutputRecording) {
        const std::string text = DecodeText(FromHex(message.data));
        begins += text == "begin";
        commits += text == "commit";
        if (text != "begin" && text != "commit" && text != "ignored") {
            ASSERT_LT(row, std::size(kRecordedRows));
            EXPECT_EQ(text, kRecordedRows[row++]);
        }
    }
    EXPECT_EQ(row, std::size(kRecordedRows));
    EXPECT_EQ(begins, 24U);
    EXPECT_EQ(commits, 24U);
}

TEST_F(PgoutputDecoderTest, RewindsToTheDescriptionsAtTheMark) {
    const std::string row = "49000000054e0002740000000131740000000161";
    DecodeText(RelationMessage());
    decoder_.Mark();
    const std::string before = DecodeHex(row);
    for (int changes = 0; changes < 2; changes++) {
        DecodeHex("52000000057075626c696300740064000101610000000017ffffffff");
        ExpectHexError(row, "its relation has 1");
        DecodeHex("52000000057075626c696300740064000101620000000017ffffffff");
    }
    decoder_.Rewind();
    EXPECT_EQ(DecodeHex(row), before);
    decoder_.Rewind();
    EXPECT_EQ(DecodeHex(row), before);
}

// As after a restart, whose first batch is written change by change after all.
TEST_F(PgoutputDecoderTest, ForgetsARelationThatWasFirstDescribedSinceTheMark) {
    const std::string row = "49000000054e0002740000000131740000000161";
    decoder_.Mark();
    DecodeText(RelationMessage());
    const std::string before = DecodeHex(row);
    decoder_.Rewind();
    ExpectHexError(row, "relation 5 has not been described");
    DecodeText(RelationMessage());
    EXPECT_EQ(DecodeHex(row), before);
}

TEST_F(PgoutputDecoderTest, DecodesBegin) {
    EXPECT_EQ(DecodeHex("4200000016b374d848000303de450feec800000315"), "begin");
    EXPECT_EQ(change_.commit_lsn.ToString(), "16/B374D848");
    EXPECT_EQ(change_.commit_time, 0x000303de450feec8);
    EXPECT_EQ(change_.xid, 0x315U);
    ExpectHexError("420000000000000000000303de450feec800000315", "no commit position");
}

TEST_F(PgoutputDecoderTest, DecodesCommit) {
    EXPECT_EQ(DecodeHex("430000000000019ba2e800000000019ba318000303de450feec8"), "commit");
    EXPECT_EQ(change_.commit_lsn.ToString(), "0/19BA2E8");
    EXPECT_EQ(change_.end_lsn.ToString(), "0/19BA318");
    EXPECT_EQ(change_.commit_time, 0x000303de450feec8);
    ExpectHexError("430100000000019ba2e800000000019ba318000303de450feec8", "flags");
    ExpectHexError("430000000000019ba2e800000000019ba2e8000303de450feec8", "positions");
    ExpectHexError("43000000000000000000000000000019ba318000303de450feec8");
}

TEST_F(PgoutputDecoderTest, MarksTransactions) {
    TransactionMark mark = MarkPgoutput(FromHex("4200000016b374d848000303de450feec800000315"));
    EXPECT_EQ(mark.kind, TransactionMark::Kind::kBegin);
    EXPECT_EQ(mark.commit_lsn.ToString(), "16/B374D848");
    EXPECT_FALSE(mark.end_lsn.valid());
    mark = MarkPgoutput(FromHex("430000000000019ba2e800000000019ba318000303de450feec8"));
    EXPECT_EQ(mark.kind, TransactionMark::Kind::kCommit);
    EXPECT_EQ(mark.commit_lsn.ToString(), "0/19BA2E8");
    EXPECT_EQ(mark.end_lsn.ToString(), "0/19BA318");
    EXPECT_EQ(MarkPgoutput("").kind, TransactionMark::Kind::kNone);
    EXPECT_EQ(MarkPgoutput("Ianything").kind, TransactionMark::Kind::kNone);
    EXPECT_THROW(MarkPgoutput("B"), Error);
    EXPECT_THROW(MarkPgoutput("C"), Error);
    EXPECT_THROW(MarkPgoutput(FromHex("4200000016b374d848000303de450feec80000031500")), Error);
}

TEST_F(PgoutputDecoderTest, MarksWhatItDecodes) {
    for (const auto &message : kPgoutputRecording) {
        const std::string payload = FromHex(message.data);
        const TransactionMark mark = MarkPgoutput(payload);
        decoder_.Decode(Lsn{1}, payload, change_);
        EXPECT_EQ(mark.kind == TransactionMark::Kind::kBegin, change_.kind == ChangeKind::kBegin);
        EXPECT_EQ(mark.kind == TransactionMark::Kind::kCommit, change_.kind == ChangeKind::kCommit);
        if (mark.kind != TransactionMark::Kind::kNone) {
            EXPECT_EQ(mark.commit_lsn, change_.commit_lsn);
        }
    }
}

TEST_F(PgoutputDecoderTest, DescribesRelation) {
    DecodeText(RelationMessage());
    DecodeHex("49000000054e00026e6e");
    const RemoteRelation &relation = *change_.relation;
    EXPECT_EQ(relation.remote_id, 5U);
    EXPECT_EQ(relation.schema, "public");
    EXPECT_EQ(relation.name, "t");
    EXPECT_EQ(relation.replica_identity, 'd');
    ASSERT_EQ(relation.columns.size(), 2U);
    EXPECT_EQ(relation.columns[0], (RemoteColumn{"a", true, 23, -1}));
    EXPECT_EQ(relation.columns[1], (RemoteColumn{"b", false, 25, -1}));
}

TEST_F(PgoutputDecoderTest, EmptySchemaIsPgCatalog) {
    DecodeHex("52000000070074006e0000");
    EXPECT_EQ(DecodeHex("49000000074e0000"), "insert pg_catalog.t");
}

TEST_F(PgoutputDecoderTest, KeepsRelationUntilItChanges) {
    const std::string row = FromHex("49000000054e00026e6e");
    DecodeText(RelationMessage());
    DecodeText(row);
    const auto first = change_.relation;
    DecodeText(RelationMessage());
    DecodeText(row);
    EXPECT_EQ(change_.relation, first);

    std::string changed = RelationMessage();
    changed[17] = 0; // a is no longer the key
    ASSERT_NE(changed, RelationMessage());
    DecodeText(changed);
    DecodeText(row);
    EXPECT_NE(change_.relation, first);
    EXPECT_FALSE(change_.relation->columns[0].is_key);
    EXPECT_TRUE(first->columns[0].is_key); // what was handed out stays as it was
}

TEST_F(PgoutputDecoderTest, SeesEveryKindOfRelationChange) {
    const std::string row = FromHex("49000000054e00026e6e");
    const std::string original = RelationMessage();
    for (size_t i = 5; i < original.size(); i++) {
        DecodeText(original);
        DecodeText(row);
        const auto before = change_.relation;
        std::string changed = original;
        changed[i] = static_cast<char>(changed[i] ^ 1);
        try {
            DecodeText(changed);
            DecodeText(row);
        } catch (const Error &) {
            continue; // another count or length
        }
        EXPECT_NE(change_.relation, before) << "byte " << i;
    }
}

TEST_F(PgoutputDecoderTest, DecodesEveryKindOfValue) {
    DecodeText(RelationMessage());
    EXPECT_EQ(DecodeHex("49000000054e0002"
                        "7400000002"
                        "3432"
                        "6e"),
              "insert public.t new (a*='42' b=null)");
    EXPECT_EQ(DecodeHex("55000000054e0002"
                        "7400000000"
                        "75"),
              "update public.t new (a*='' b=unchanged)");
    EXPECT_EQ(DecodeHex("49000000054e0002"
                        "6200000001"
                        "78"
                        "6200000000"),
              "insert public.t new (a*=binary'x' b=binary'')");
    ExpectHexError("49000000054e0002"
                   "6e"
                   "78",
                   "unknown kind of value");
}

// Keys are compared by their bytes, so rows of two forms must not share a description.
TEST_F(PgoutputDecoderTest, DescribesTheRelationAnewWhereTheFormChanges) {
    const std::string text = "49000000054e0002"
                             "740000000131"
                             "6e";
    const std::string binary = "49000000054e0002"
                               "620000000400000001"
                               "6e";
    const std::string nulls = "49000000054e0002"
                              "6e"
                              "6e";
    DecodeText(RelationMessage());
    DecodeHex(text);
    const auto in_text = change_.relation;
    EXPECT_FALSE(in_text->binary);
    DecodeHex(binary);
    const auto in_binary = change_.relation;
    EXPECT_NE(in_binary, in_text);
    EXPECT_TRUE(in_binary->binary);
    DecodeText(RelationMessage());
    DecodeHex(nulls);
    EXPECT_EQ(change_.relation, in_binary) << "nulls are in either form, a repetition says nothing";
    DecodeHex("44000000054b0002"
              "620000000400000001"
              "6e");
    EXPECT_EQ(change_.relation, in_binary);
    DecodeHex(text);
    EXPECT_NE(change_.relation, in_binary);
    EXPECT_FALSE(change_.relation->binary);
    EXPECT_EQ(change_.relation->columns, in_text->columns);
}

TEST_F(PgoutputDecoderTest, DropsColumnsOutsideTheKeyFromKeyTuples) {
    DecodeText(RelationMessage());
    EXPECT_EQ(DecodeHex("44000000054b0002"
                        "740000000131"
                        "6e"),
              "delete public.t key (a*='1')");
    EXPECT_EQ(change_.old_tuple[1].kind, ValueKind::kAbsent);
    EXPECT_EQ(DecodeHex("44000000054f0002"
                        "740000000131"
                        "6e"),
              "delete public.t full (a*='1' b=null)");
    EXPECT_EQ(DecodeHex("55000000054b0002"
                        "740000000131"
                        "6e"
                        "4e0002"
                        "740000000132"
                        "75"),
              "update public.t key (a*='1') new (a*='2' b=unchanged)");
    EXPECT_EQ(DecodeHex("55000000054f0002"
                        "740000000131"
                        "6e"
                        "4e0002"
                        "740000000132"
                        "6e"),
              "update public.t full (a*='1' b=null) new (a*='2' b=null)");
    EXPECT_EQ(DecodeHex("55000000054e0002"
                        "740000000132"
                        "6e"),
              "update public.t new (a*='2' b=null)");
    EXPECT_FALSE(change_.old_tuple_is_full);
}

TEST_F(PgoutputDecoderTest, DecodesTruncate) {
    DecodeText(RelationMessage());
    EXPECT_EQ(DecodeHex("540000000200"
                        "00000005"
                        "00000005"),
              "truncate public.t public.t");
    EXPECT_EQ(DecodeHex("540000000101"
                        "00000005"),
              "truncate public.t cascade");
    EXPECT_EQ(DecodeHex("540000000102"
                        "00000005"),
              "truncate public.t restart");
    ExpectHexError("540000000100"
                   "00000006",
                   "not been described");
    ExpectHexError("54ffffffff00"
                   "00000005",
                   "truncated");
    ExpectHexError("540000000100"
                   "0000000500",
                   "too long");
}

TEST_F(PgoutputDecoderTest, RefusesUnknownRelation) {
    ExpectHexError("49000000054e00026e6e", "relation 5 has not been described");
    DecodeText(RelationMessage());
    ExpectHexError("49000000064e00026e6e", "relation 6 has not been described");
    ExpectHexError("44000000064b00026e6e", "relation 6 has not been described");
}

// D21, down to where messages are cut and bytes are flipped.
TEST_F(PgoutputDecoderTest, RefusesWrongTuples) {
    DecodeText(RelationMessage());
    ExpectHexError("49000000054e00016e", "1 columns, its relation has 2");
    ExpectHexError("49000000054e00036e6e6e", "3 columns, its relation has 2");
    ExpectHexError("49000000054effff6e6e", "65535 columns, its relation has 2");
    ExpectHexError("49000000054b00026e6e", "lacks the new tuple");
    ExpectHexError("55000000054b00026e6e"
                   "4b00026e6e",
                   "lacks the new tuple");
    ExpectHexError("44000000054e00026e6e", "lacks the old tuple");
    ExpectHexError("49000000054e00026e6e00", "too long");
}

TEST_F(PgoutputDecoderTest, RefusesHostileLengths) {
    DecodeText(RelationMessage());
    for (const char *length : {"ffffffff", "80000000", "7fffffff", "00000002"}) {
        ExpectHexError("49000000054e0002"
                       "74" +
                           std::string(length) + "31",
                       "truncated");
        ExpectHexError("49000000054e0002"
                       "6e62" +
                           std::string(length) + "31",
                       "truncated");
    }
    ExpectHexError("4d00"
                   "0000000000000001"
                   "7000"
                   "ffffffff"
                   "31",
                   "truncated");
}

TEST_F(PgoutputDecoderTest, RefusesHostileRelations) {
    ExpectHexError("52000000057000740064ffff", "truncated"); // 65535 columns in no bytes
    std::string many = FromHex("52000000057000740064ffff");
    for (size_t i = 0; i < 1000; i++) {
        many += FromHex("00610000000017ffffffff");
    }
    ExpectError(many, "truncated");
    ExpectHexError("52000000057000740064000200610000000017ffffffff00610000000017ffffffff",
                   "column name twice");
    ExpectHexError("5200000005707562", "truncated");              // a name without an end
    ExpectHexError("49000000054e00026e6e", "not been described"); // none of it was kept
}

// D20
TEST_F(PgoutputDecoderTest, RefusesUnknownMessages) {
    ExpectError("", "truncated");
    for (int type = 0; type < 256; type++) {
        if (std::string_view("BCRYOIUDTM").find(static_cast<char>(type)) == std::string::npos) {
            ExpectError(std::string(1, static_cast<char>(type)) + "12345678901234567890",
                        "unknown pgoutput message type");
        }
    }
}

TEST_F(PgoutputDecoderTest, ErrorsShowNoValues) {
    DecodeText(RelationMessage());
    try {
        // "secret" stands at offset 13, behind the head of the message.
        DecodeHex("49000000054e0002"
                  "7400000006736563726574"
                  "78");
        FAIL();
    } catch (const Error &error) {
        EXPECT_NE(error.detail().find("49 00 00 00 05 4e 00 02."), std::string::npos);
        EXPECT_EQ((error.message() + error.detail()).find("73 65 63"), std::string::npos);
        EXPECT_EQ((error.message() + error.detail()).find("secret"), std::string::npos);
    }
}

TEST_F(PgoutputDecoderTest, ReusesItsTuples) {
    DecodeText(RelationMessage());
    DecodeHex("55000000054f00026e6e4e00026e6e");
    const ColumnValue *const old_values = change_.old_tuple.data();
    const ColumnValue *const new_values = change_.new_tuple.data();
    const long owners = change_.relation.use_count();
    for (const char *hex : {"49000000054e00026e6e", "44000000054b00026e6e", "55000000054e00026e6e",
                            "55000000054f00026e6e4e00026e6e"}) {
        DecodeHex(hex);
        EXPECT_EQ(change_.relation.use_count(), owners);
    }
    EXPECT_EQ(change_.old_tuple.data(), old_values);
    EXPECT_EQ(change_.new_tuple.data(), new_values);
}

TEST_F(PgoutputDecoderTest, RefusesMessagesTruncatedAnywhere) {
    for (const auto &message : kPgoutputRecording) {
        const std::string payload = FromHex(message.data);
        for (size_t size = 0; size < payload.size(); size++) {
            ExpectError(std::string_view(payload).substr(0, size));
        }
        ExpectError(payload + '\0');
        DecodeText(payload); // relations for what follows
    }
}

TEST_F(PgoutputDecoderTest, SurvivesFlippedBytes) {
    size_t refused = 0;
    for (const auto &message : kPgoutputRecording) {
        const std::string payload = FromHex(message.data);
        // Beyond that there are only letters T.
        for (size_t i = 0; i < std::min<size_t>(payload.size(), 256); i++) {
            for (const int mask : {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF}) {
                std::string damaged = payload;
                damaged[i] = static_cast<char>(damaged[i] ^ mask);
                const ExactCopy copy(damaged);
                PgoutputDecoder decoder = decoder_;
                try {
                    decoder.Decode(Lsn{1}, copy.view(), change_);
                    EXPECT_FALSE(ChangeText(change_).empty()); // reads every value
                } catch (const Error &error) {
                    EXPECT_EQ(error.sqlstate(), sqlstate::kProtocolViolation);
                    refused++;
                }
            }
        }
        DecodeText(payload);
    }
    EXPECT_GT(refused, 10000U);
}

} // namespace
} // namespace livemigrate
