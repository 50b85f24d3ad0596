#include "core/libpq_option.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <string>

namespace livemigrate {
namespace {

// PQconninfoOption of libpq-fe.h, whose form is part of libpq's binary interface; core's tests are
// built without libpq's headers.
struct ConninfoOption {
    char *keyword;
    char *envvar;
    char *compiled;
    char *val;
    char *label;
    char *dispchar; // "*": a password, "D": not for people to give
    int dispsize;
};

// The newest major version whose options have been looked at.
constexpr int kNewestKnown = 18;

class LibpqOptionTest : public testing::Test {
  protected:
    void
    SetUp() override {
        library_ = dlopen("libpq.so.5", RTLD_NOW);
        ASSERT_NE(library_, nullptr) << dlerror();
        const auto defaults =
            reinterpret_cast<ConninfoOption *(*)()>(dlsym(library_, "PQconndefaults"));
        const auto version = reinterpret_cast<int (*)()>(dlsym(library_, "PQlibVersion"));
        ASSERT_NE(defaults, nullptr);
        ASSERT_NE(version, nullptr);
        options_ = defaults();
        major_ = version() / 10000;
        ASSERT_NE(options_, nullptr);
    }

    void
    TearDown() override {
        if (options_ != nullptr) {
            reinterpret_cast<void (*)(ConninfoOption *)>(dlsym(library_, "PQconninfoFree"))(
                options_);
        }
        if (library_ != nullptr) {
            dlclose(library_);
        }
    }

    void *library_ = nullptr;
    ConninfoOption *options_ = nullptr;
    int major_ = 0;
};

// An option that a later libpq brings is dangerous until somebody has looked at it.
TEST_F(LibpqOptionTest, EveryOptionOfLibpqIsKnownOrDangerous) {
    int count = 0;
    for (const ConninfoOption *option = options_; option->keyword != nullptr; ++option) {
        ++count;
        if (IsKnownLibpqOption(option->keyword)) {
            continue;
        }
        EXPECT_GT(major_, kNewestKnown)
            << "libpq's option " << option->keyword << " is not in core/libpq_option.cpp";
        EXPECT_TRUE(KnowledgeOf(option->keyword).is_secret) << option->keyword;
        EXPECT_TRUE(KnowledgeOf(option->keyword).is_harmful) << option->keyword;
    }
    EXPECT_GT(count, 30);
}

TEST_F(LibpqOptionTest, WhatLibpqHidesIsSecret) {
    int hidden = 0;
    for (const ConninfoOption *option = options_; option->keyword != nullptr; ++option) {
        if (option->dispchar != nullptr && std::string(option->dispchar) == "*") {
            ++hidden;
            EXPECT_TRUE(KnowledgeOf(option->keyword).is_secret) << option->keyword;
        }
    }
    EXPECT_GE(hidden, 2); // password and sslpassword
}

// What only a superuser may give: files, programs and credentials of the server's machine.
TEST_F(LibpqOptionTest, FilesAndProgramsAreHarmful) {
    for (const char *name :
         {"gssdelegation", "gsslib", "krbsrvname", "oauth_issuer", "options", "passfile",
          "requirepeer", "service", "servicefile", "sslcert", "sslcrl", "sslcrldir", "sslkey",
          "sslkeylogfile", "sslpassword", "sslrootcert", "scram_client_key"}) {
        EXPECT_TRUE(KnowledgeOf(name).is_harmful) << name;
    }
    for (const char *name : {"host", "port", "dbname", "user", "password", "sslmode"}) {
        EXPECT_FALSE(KnowledgeOf(name).is_harmful) << name;
    }
}

TEST_F(LibpqOptionTest, UnknownIsDangerous) {
    for (const char *name : {"pasword", "PASSWORD", "Host", "", "new_option"}) {
        EXPECT_TRUE(KnowledgeOf(name).is_secret) << name;
        EXPECT_TRUE(KnowledgeOf(name).is_harmful) << name;
    }
}

} // namespace
} // namespace livemigrate
