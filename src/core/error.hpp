// The one error type of livemigrate, with the fields of PostgreSQL's ereport.
//
// Thrown on every floor above pg/guard, which alone turns it into an ereport (and an ereport into
// it). Messages follow PostgreSQL's style guide: message lower case without a period, detail and
// hint full sentences, no "failed to". A hint holds SQL that can be run as it is where possible.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace livemigrate {

// SQLSTATEs in use (PostgreSQL's errcodes.txt).
namespace sqlstate {
inline constexpr std::string_view kConnectionFailure = "08006";
inline constexpr std::string_view kCannotConnect = "08001";
inline constexpr std::string_view kProtocolViolation = "08P01";
inline constexpr std::string_view kFeatureNotSupported = "0A000";
inline constexpr std::string_view kDataException = "22000";
inline constexpr std::string_view kNullValueNotAllowed = "22004";
inline constexpr std::string_view kInvalidParameterValue = "22023";
inline constexpr std::string_view kUntranslatableCharacter = "22P05";
inline constexpr std::string_view kUniqueViolation = "23505";
inline constexpr std::string_view kInvalidPassword = "28P01";
inline constexpr std::string_view kInvalidTransactionState = "25000";
inline constexpr std::string_view kUndefinedSchema = "3F000";
inline constexpr std::string_view kSerializationFailure = "40001";
inline constexpr std::string_view kDeadlockDetected = "40P01";
inline constexpr std::string_view kInsufficientPrivilege = "42501";
inline constexpr std::string_view kUndefinedTable = "42P01";
inline constexpr std::string_view kUndefinedColumn = "42703";
inline constexpr std::string_view kUndefinedObject = "42704";
inline constexpr std::string_view kDatatypeMismatch = "42804";
inline constexpr std::string_view kDuplicateObject = "42710";
inline constexpr std::string_view kWrongObjectType = "42809";
inline constexpr std::string_view kDiskFull = "53100";
inline constexpr std::string_view kOutOfMemory = "53200";
inline constexpr std::string_view kConfigurationLimitExceeded = "53400";
inline constexpr std::string_view kProgramLimitExceeded = "54000";
inline constexpr std::string_view kObjectNotInPrerequisiteState = "55000";
inline constexpr std::string_view kObjectInUse = "55006";
inline constexpr std::string_view kLockNotAvailable = "55P03";
inline constexpr std::string_view kQueryCanceled = "57014";
inline constexpr std::string_view kAdminShutdown = "57P01";
inline constexpr std::string_view kIoError = "58030";
inline constexpr std::string_view kUndefinedFile = "58P01";
inline constexpr std::string_view kInternalError = "XX000";
inline constexpr std::string_view kDataCorrupted = "XX001";
} // namespace sqlstate

// throw Error(sqlstate::kInvalidParameterValue, "unknown stage \"x\"").Hint("Valid stages are
// ...");
class Error : public std::exception {
  public:
    Error(std::string_view sqlstate, std::string message)
        : sqlstate_(sqlstate), message_(std::move(message)) {}

    Error &&
    Detail(std::string detail) && {
        detail_ = std::move(detail);
        return std::move(*this);
    }
    Error &&
    Hint(std::string hint) && {
        hint_ = std::move(hint);
        return std::move(*this);
    }
    Error &&
    Context(std::string context) && {
        context_ = std::move(context);
        return std::move(*this);
    }

    const char *
    what() const noexcept override {
        return message_.c_str();
    }
    const std::string &
    sqlstate() const noexcept {
        return sqlstate_;
    }
    const std::string &
    message() const noexcept {
        return message_;
    }
    const std::string &
    detail() const noexcept {
        return detail_;
    }
    const std::string &
    hint() const noexcept {
        return hint_;
    }
    const std::string &
    context() const noexcept {
        return context_;
    }
    // In one line.
    std::string
    MessageWithDetail() const {
        return message_ + (detail_.empty() ? "" : ": ") + detail_;
    }
    // For where there is one place for both: which row, which position it is about.
    std::string
    DetailWithContext() const {
        return detail_ + (detail_.empty() || context_.empty() ? "" : "\n") + context_;
    }

  private:
    std::string sqlstate_;
    std::string message_;
    std::string detail_;
    std::string hint_;
    std::string context_;
};

} // namespace livemigrate
