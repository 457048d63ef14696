/* SPDX-License-Identifier: MIT */
/* OpenSSL's errors in plain words: see fault.h. */
#include "broker/tls/fault.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

/* OpenSSL gives alerts that it receives as reasons from here on. */
#define ALERT_REASONS 1000

void fault_reason(char text[TLS_TEXT_SIZE])
{
    unsigned long error = ERR_peek_last_error();
    const char *reason = error ? ERR_reason_error_string(error) : NULL;

    if (reason)
        snprintf(text, TLS_TEXT_SIZE, "%s", reason);
    else
        snprintf(text, TLS_TEXT_SIZE, "%s", "OpenSSL does not say why");
    ERR_clear_error();
}

/* ---- what the peer objects to ---- */

static const struct {
    int alert; /* RFC 8446, 6 */
    const char *text;
} alerts[] = {
    {40, "the server refuses the handshake: it wants a client certificate (tls_cert_file), or has "
         "no cipher or version in common with us"},
    {42, "the server does not accept the client certificate of tls_cert_file"},
    {43, "the server does not take client certificates of this kind (tls_cert_file)"},
    {44, "the server says that the client certificate of tls_cert_file was revoked"},
    {45, "the server says that the client certificate of tls_cert_file has expired"},
    {46, "the server does not accept the client certificate of tls_cert_file"},
    {48, "the server does not know the CA of the client certificate of tls_cert_file"},
    {70, "the server does not speak the TLS versions of tls_min_version to tls_max_version"},
    {71, "the server does not take ciphers as weak as those of tls_ciphers"},
    {112, "the server does not know the name of tls_server_name or of its address"},
    {116, "the server wants a client certificate: set tls_cert_file and tls_key_file"},
};

static bool tell_alert(int alert, char text[TLS_TEXT_SIZE])
{
    for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++)
        if (alerts[i].alert == alert) {
            snprintf(text, TLS_TEXT_SIZE, "TLS: %s", alerts[i].text);
            return true;
        }
    return false;
}

/* ---- what we object to ---- */

static void name_of(const X509_NAME *name, char text[96])
{
    if (!name || X509_NAME_get_text_by_NID((X509_NAME *)name, NID_commonName, text, 96) < 0)
        snprintf(text, 96, "no name");
}

static void tell_time(const ASN1_TIME *when, char text[32])
{
    struct tm tm;

    if (!ASN1_TIME_to_tm(when, &tm) || strftime(text, 32, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        snprintf(text, 32, "%s", "an unknown time");
}

void fault_of_certificate(const X509 *certificate, int result, char text[TLS_TEXT_SIZE])
{
    char subject[96] = "", issuer[96] = "", when[32] = "";

    if (certificate) {
        name_of(X509_get_subject_name(certificate), subject);
        name_of(X509_get_issuer_name(certificate), issuer);
    }
    switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        if (certificate)
            tell_time(X509_get0_notAfter(certificate), when);
        snprintf(text, TLS_TEXT_SIZE,
                 "TLS: the server's certificate (%s), or that of a CA of it, has expired: %s",
                 subject, when);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        if (certificate)
            tell_time(X509_get0_notBefore(certificate), when);
        snprintf(text, TLS_TEXT_SIZE,
                 "TLS: the server's certificate (%s) is not valid before %s: is the clock right?",
                 subject, when);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        snprintf(text, TLS_TEXT_SIZE,
                 "TLS: the server's certificate (%s) is made out to another %s: see "
                 "tls_server_name",
                 subject, result == X509_V_ERR_HOSTNAME_MISMATCH ? "host" : "IP address");
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        snprintf(text, TLS_TEXT_SIZE,
                 "TLS: the CA of the server's certificate (%s, issued by %s) is not among those "
                 "that are trusted: see tls_ca_file",
                 subject, issuer);
        break;
    default:
        snprintf(text, TLS_TEXT_SIZE, "TLS: the server's certificate (%s) is not accepted: %s",
                 subject, X509_verify_cert_error_string(result));
    }
}

/* ---- all together ---- */

static void tell_end(int error, bool established, char text[TLS_TEXT_SIZE])
{
    if (error != 0)
        snprintf(text, TLS_TEXT_SIZE, "%s", strerror(error));
    else
        snprintf(text, TLS_TEXT_SIZE, "the server closed the connection%s",
                 established ? "" : " in the TLS handshake");
}

/* An error that OpenSSL found by itself. */
static void tell_reason(unsigned long code, char text[TLS_TEXT_SIZE])
{
    const char *reason = ERR_reason_error_string(code);

    switch (ERR_GET_REASON(code)) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
        snprintf(text, TLS_TEXT_SIZE, "TLS: the server does not speak TLS on this port");
        break;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
        snprintf(text, TLS_TEXT_SIZE,
                 "TLS: the server does not speak the TLS versions of tls_min_version to "
                 "tls_max_version");
        break;
    default:
        snprintf(text, TLS_TEXT_SIZE, "TLS: %s",
                 reason ? reason : "the server breaks the protocol");
    }
}

void fault_of_connection(int error, bool established, char text[TLS_TEXT_SIZE])
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);

    if (code == 0 || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING || error != 0)
        tell_end(error, established, text);
    else if (reason < ALERT_REASONS || !tell_alert(reason - ALERT_REASONS, text))
        tell_reason(code, text);
    ERR_clear_error();
}
