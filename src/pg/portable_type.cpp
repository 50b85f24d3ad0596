#include "pg/portable_type.hpp"

namespace livemigrate::pg {

namespace {

bool
HasInfiniteInterval(int version) {
    return version >= 170000;
}

bool
IsPortable(Oid type, int sender) {
    switch (type) {
    case BOOLOID:
    case BYTEAOID:
    case CHAROID:
    case NAMEOID:
    case INT8OID:
    case INT2OID:
    case INT4OID:
    case TEXTOID:
    case OIDOID:
    case JSONOID:
    case JSONBOID:
    case POINTOID:
    case LSEGOID:
    case PATHOID:
    case BOXOID:
    case POLYGONOID:
    case LINEOID:
    case CIRCLEOID:
    case FLOAT4OID:
    case FLOAT8OID:
    case MACADDROID:
    case MACADDR8OID:
    case INETOID:
    case CIDROID:
    case BPCHAROID:
    case VARCHAROID:
    case DATEOID:
    case TIMEOID:
    case TIMETZOID:
    case TIMESTAMPOID:
    case TIMESTAMPTZOID:
    case BITOID:
    case VARBITOID:
    case NUMERICOID:
    case UUIDOID:
    case INT4RANGEOID:
    case INT8RANGEOID:
    case NUMRANGEOID:
    case TSRANGEOID:
    case TSTZRANGEOID:
    case DATERANGEOID:
        return true;
    case INTERVALOID:
        return HasInfiniteInterval(sender) == HasInfiniteInterval(kBuiltForVersion);
    default:
        return false;
    }
}

} // namespace

bool
HasPortableBinaryForm(Oid type, Oid element, int sender) {
    if (type == INT2VECTOROID || type == OIDVECTOROID) {
        return false;
    }
    return IsPortable(OidIsValid(element) ? element : type, sender);
}

} // namespace livemigrate::pg
