/*
 * One call that decodes a JPEG by libjpeg-turbo. It is in C because libjpeg reports errors by a function that must not
 * return, which takes setjmp, and because TurboJPEG's interface keeps the last warning only: here each warning is judged
 * as it comes.
 *
 * `libjpeg.rs` declares what stands here and is the only caller.
 */
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>

#include <jpeglib.h>
#include <jerror.h>

/* What the header must say and what is to be made of the file. */
struct latentd_jpeg_request {
  unsigned int width;
  unsigned int height;
  unsigned int components;
  unsigned int progressive;
  /* Pixels on each side that become one: 1, 2, 4 or 8. */
  unsigned int factor;
  /* The size after that. */
  unsigned int output_width;
  unsigned int output_height;
  /* Samples of an output pixel: 1 is grey, 3 is RGB, 4 is CMYK as the file has it. */
  unsigned int output_channels;
  /* Whether three components are RGB whatever the markers of the file say. */
  unsigned int stored_rgb;
};

enum {
  LATENTD_JPEG_DECODED = 0,
  LATENTD_JPEG_CORRUPT = 1,
  /* libjpeg reads another header than the one of the request. */
  LATENTD_JPEG_MISMATCH = 2,
  /* A progressive file whose scans end before the last bits of its coefficients. */
  LATENTD_JPEG_UNFINISHED = 3,
  /* A valid file of a kind that libjpeg does not decode. */
  LATENTD_JPEG_UNSUPPORTED = 4,
};

struct failure {
  struct jpeg_error_mgr manager;
  jmp_buf back;
  char *message;
};

static void fail(j_common_ptr info) {
  struct failure *failure = (struct failure *)info->err;
  failure->manager.format_message(info, failure->message);
  longjmp(failure->back, 1);
}

/* Warnings that say nothing of the pixels are passed over; any other means that libjpeg has made some of them up. */
static void judge(j_common_ptr info, int level) {
  if (level >= 0) return; /* a trace */
  switch (info->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA: /* bytes before a marker */
    case JWRN_JFIF_MAJOR:      /* a JFIF version of the future */
    case JWRN_ADOBE_XFORM:     /* an Adobe transform of the future */
    case JWRN_NOT_SEQUENTIAL:  /* a sequential scan with the parameters of a progressive one, which it has no use for */
      return;
    default:
      fail(info);
  }
}

static void print_nothing(j_common_ptr info) { (void)info; }

static int unfinished(const struct jpeg_decompress_struct *info) {
  if (!info->progressive_mode || info->coef_bits == NULL) return 0;
  for (int component = 0; component < info->num_components; component++) {
    const int *bits = info->coef_bits[component];
    if (bits[0] < 0) return 1;
    for (int coefficient = 0; coefficient < DCTSIZE2; coefficient++) {
      if (bits[coefficient] > 0) return 1;
    }
  }
  return 0;
}

/*
 * Decodes the `length` bytes of a file into `pixels`, which has room for
 * output_width * output_height * output_channels samples. `message`, of JMSG_LENGTH_MAX (200) bytes, is set where the
 * result is LATENTD_JPEG_CORRUPT or LATENTD_JPEG_UNSUPPORTED.
 */
int latentd_jpeg_decode(const unsigned char *bytes, size_t length, const struct latentd_jpeg_request *request,
                        unsigned char *pixels, char *message) {
  struct jpeg_decompress_struct info;
  struct failure failure;
  volatile int result = LATENTD_JPEG_MISMATCH; /* its value outlives a longjmp */

  info.err = jpeg_std_error(&failure.manager);
  failure.manager.error_exit = fail;
  failure.manager.emit_message = judge;
  failure.manager.output_message = print_nothing;
  failure.message = message;
  if (setjmp(failure.back)) {
    int code = failure.manager.msg_code;
    jpeg_destroy_decompress(&info);
    switch (code) {
      case JERR_FRACT_SAMPLE_NOTIMPL:
      case JERR_CCIR601_NOTIMPL:
      case JERR_CONVERSION_NOTIMPL:
      case JERR_SOF_UNSUPPORTED:
      case JERR_NOTIMPL:
        return LATENTD_JPEG_UNSUPPORTED;
      default:
        return LATENTD_JPEG_CORRUPT;
    }
  }
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, bytes, (unsigned long)length);
  jpeg_read_header(&info, TRUE);
  if (info.image_width != request->width || info.image_height != request->height ||
      (unsigned int)info.num_components != request->components ||
      (info.progressive_mode != 0) != (request->progressive != 0) || info.arith_code || info.data_precision != 8)
    goto done;

  if (request->stored_rgb) info.jpeg_color_space = JCS_RGB;
  switch (request->output_channels) {
    case 1: info.out_color_space = JCS_GRAYSCALE; break;
    case 3: info.out_color_space = JCS_RGB; break;
    default: info.out_color_space = JCS_CMYK; break;
  }
  info.scale_num = 1;
  info.scale_denom = request->factor;
  info.dct_method = JDCT_ISLOW; /* the accurate one, and the only one with the same pixels on every processor */
  jpeg_start_decompress(&info);
  if (info.output_width != request->output_width || info.output_height != request->output_height ||
      (unsigned int)info.output_components != request->output_channels)
    goto done;
  if (unfinished(&info)) {
    result = LATENTD_JPEG_UNFINISHED;
    goto done;
  }

  size_t stride = (size_t)request->output_width * request->output_channels;
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = pixels + stride * info.output_scanline;
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info); /* reads on to the end marker */
  result = LATENTD_JPEG_DECODED;

done:
  jpeg_destroy_decompress(&info);
  return result;
}
