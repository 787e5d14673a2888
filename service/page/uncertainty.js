/** From a covariance [xx, xy, yy] in pixels squared to what people read: sigmas, and the ellipse of a confidence. */

/** Standard deviations along the two axes in pixels, and the longer axis' direction in radians (x right, y down). */
export function sigmas([xx, xy, yy]) {
  const mean = (xx + yy) / 2;
  const spread = Math.hypot((xx - yy) / 2, xy);
  return {
    major: Math.sqrt(Math.max(mean + spread, 0)),
    minor: Math.sqrt(Math.max(mean - spread, 0)),
    angle: Math.atan2(2 * xy, xx - yy) / 2,
  };
}

/**
 * How many sigmas the ellipse reaches that holds this share of the errors: of a Student distribution in the plane with
 * so many degrees of freedom, or of a normal one.
 */
export function reach(confidence, freedom = Infinity) {
  const surprise = -2 * Math.log(1 - confidence); // the chi-squared distribution's quantile, two degrees of freedom
  return Math.sqrt(freedom === Infinity ? surprise : (freedom - 2) * Math.expm1(surprise / freedom));
}

/** The ellipse as SVG path data, in the units of the point. */
export function ellipsePath([x, y], covariance, confidence, freedom) {
  const { major, minor, angle } = sigmas(covariance);
  const [a, b] = [major * reach(confidence, freedom), minor * reach(confidence, freedom)];
  const [dx, dy] = [a * Math.cos(angle), a * Math.sin(angle)];
  const turn = (angle * 180) / Math.PI;
  const arc = `A${a} ${b} ${turn} 1 0`;
  return `M${x - dx} ${y - dy}${arc} ${x + dx} ${y + dy}${arc} ${x - dx} ${y - dy}`;
}
