#include "core/access_fix.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

std::string
Refused(const std::string &encryption) {
    return R"(connection to server at "db" (192.0.2.7), port 5432 failed: FATAL:  no pg_hba.conf )"
           R"(entry for host "192.0.2.9", user "far", database "app", )" +
           encryption;
}

TEST(AccessFix, ProvidersAreKnownByTheirHosts) {
    for (const auto &[host, provider] :
         std::initializer_list<std::pair<const char *, const char *>>{
             {"app.c9xyz.eu-west-1.rds.amazonaws.com", kAmazonRds},
             {"app.c9xyz.cn-north-1.rds.amazonaws.com.cn", kAmazonRds},
             {"APP.Postgres.Database.Azure.com", kAzure},
             {"1a2b.3c4d.europe-west1.sql.goog", kCloudSql},
             {"1a2b.europe-west1.alloydb.goog", kAlloyDb},
             {"db.abcdef.supabase.co", kSupabase},
             {"aws-0-eu-central-1.pooler.supabase.com", kSupabase},
             {"ep-cool-1234.eu-central-1.aws.neon.tech", kNeon},
             {"abc.def.tsdb.cloud.timescale.com", kTimescale},
             {"other.example,db.abcdef.supabase.co", kSupabase}}) {
        EXPECT_EQ(HostProvider(host), provider) << host;
    }
    for (const char *host :
         {"", ",", "/tmp", "192.0.2.7", "old.example", "rds.amazonaws.com.example",
          "ec2-192-0-2-7.compute-1.amazonaws.com", "supabase.co.example"}) {
        EXPECT_EQ(HostProvider(host), "") << host;
    }
}

TEST(AccessFix, WhatAHostileServerSaysDoesNotBecomeALine) {
    const std::string line = "\nALTER ROLE x SUPERUSER; --";
    const AccessRequest known{"app", "far", "192.0.2.9", "", false};
    for (const auto &[host, database] : std::initializer_list<std::pair<std::string, std::string>>{
             {"192.0.2.1" + line, "d"}, {"192.0.2.1", "d" + line}, {"nowhere", "d"}}) {
        const std::string reason = "FATAL:  no pg_hba.conf entry for host \"" + host +
                                   "\", user \"u\", database \"" + database + "\", no encryption";
        EXPECT_EQ(AccessFix("", reason, known), AccessFix("", "", known));
        EXPECT_EQ(AccessFix(kAmazonRds, reason, known), NetworkFix(kAmazonRds, "192.0.2.9"));
    }
    EXPECT_EQ(NetworkFix(kAmazonRds, "192.0.2.1" + line).find("\nALTER"), std::string::npos);
}

TEST(AccessFix, IsTheLineThatIsMissing) {
    EXPECT_EQ(AccessFix("", Refused("SSL encryption"), {}),
              "host \"app\" \"far\" 192.0.2.9/32 scram-sha-256\n"
              "-- in the source's pg_hba.conf, above a line that rejects; then run there: SELECT "
              "pg_reload_conf();");
    EXPECT_EQ(AccessFix("", "pg_hba.conf rejects", {"db", "me", "", "", false}).substr(0, 22),
              "local \"db\" \"me\" peer\n-");
    EXPECT_EQ(AccessFix("", "pg_hba.conf", {"db", "me", "2001:db8::1", "", false}).substr(0, 42),
              "host \"db\" \"me\" 2001:db8::1/128 scram-sha-2");
}

TEST(AccessFix, ReadsMessagesInOtherLanguages) {
    const AccessRequest known{"db", "me", "", "", true};
    for (const char *said :
         {"kein pg_hba.conf-Eintrag für Host »192.0.2.9«, Benutzer »far«, Datenbank »app«",
          "kein pg_hba.conf-Eintrag für Host „192.0.2.9“, Benutzer „far“, Datenbank „app“",
          "pg_hba.conf : «\u00a0192.0.2.9\u00a0», «\u00a0far\u00a0», «\u00a0app\u00a0»"}) {
        const std::string again = "\nconnection to server at \"b\", port 5432 failed: \"no\"";
        EXPECT_TRUE(AccessFix("", said + again, known)
                        .starts_with("host \"app\" \"far\" 192.0.2.9/32 scram-sha-256\n"))
            << said;
    }
    EXPECT_TRUE(AccessFix("", "записи в pg_hba.conf нет", known)
                    .starts_with("host \"db\" \"me\" <address of the target's server>/32 scram"));
}

TEST(AccessFix, IsEncryptionFirstWhereItWasNotTried) {
    const AccessRequest disabled{"", "", "", "disable", false};
    for (const char *said : {"no encryption", "SSL off"}) {
        EXPECT_EQ(AccessFix("", Refused(said), disabled),
                  "-- sslmode=require in the connection string: the source lets this role in only "
                  "encrypted, if at all\n"
                  "-- or this line in the source's pg_hba.conf, above one that rejects; then run "
                  "there: SELECT pg_reload_conf();\n"
                  "-- host \"app\" \"far\" 192.0.2.9/32 scram-sha-256");
        for (const char *sslmode : {"", "prefer", "require"}) {
            EXPECT_EQ(AccessFix("", Refused(said), {"", "", "", sslmode, false}).rfind("host ", 0),
                      0U);
        }
    }
    EXPECT_EQ(AccessFix("", Refused("SSL encryption"), disabled).rfind("host ", 0), 0U);
    EXPECT_EQ(AccessFix("",
                        "no pg_hba.conf entry for host \"[local]\", user \"me\", database "
                        "\"app\", no encryption",
                        disabled)
                  .rfind("local ", 0),
              0U);
}

TEST(AccessFix, IsTheProvidersOwnWay) {
    for (const char *provider :
         {kAmazonRds, kCloudSql, kAlloyDb, kAzure, kSupabase, kNeon, kTimescale, kHeroku}) {
        const std::string fix =
            AccessFix(provider, Refused("no encryption"), {"", "", "", "disable", false});
        EXPECT_EQ(fix.rfind("-- sslmode=require", 0), 0U) << fix;
        EXPECT_EQ(fix.find("pg_hba.conf"), std::string::npos) << fix;
        EXPECT_NE(fix.find("add 192.0.2.9 to "), std::string::npos) << fix;
    }
    EXPECT_EQ(AccessFix(kAmazonRds, Refused("SSL encryption"), {}),
              "-- at Amazon RDS or Aurora add 192.0.2.9 to an inbound rule of the instance's "
              "security group");
    EXPECT_EQ(NetworkFix(kCloudSql, ""),
              "-- at Cloud SQL add the address of the target's server to an authorized network of "
              "the instance");
}

} // namespace
} // namespace livemigrate
