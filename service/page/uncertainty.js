/** Standard deviations and confidence ellipses from a covariance [xx, xy, yy] in square pixels. */

/** Whether the points are more likely wrong than right: such a face is drawn dimmed, and is listed after the others. */
export const isDoubtful = (face) => face.score < 0.5;

/** Whether a point is more likely hidden than seen; false where the model does not say. */
export const isHidden = ({ visibility }, index) => visibility !== undefined && visibility[index] < 0.5;

/** Standard deviations along the two axes in pixels, and the angle of the longer one in radians (x right, y down). */
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
 * The half-axes of the ellipse that holds this share of the errors, in standard deviations: of a Student distribution
 * in the plane with so many degrees of freedom, by default a normal distribution.
 */
export function ellipseRadius(confidence, degreesOfFreedom = Infinity) {
  const v = degreesOfFreedom;
  const quantile = -2 * Math.log(1 - confidence); // of the chi-squared distribution with two degrees of freedom
  return Math.sqrt(v === Infinity ? quantile : (v - 2) * Math.expm1(quantile / v));
}

/** The ellipse as SVG path data, in the units of the point. */
export function ellipsePath([x, y], covariance, confidence, degreesOfFreedom) {
  const { major, minor, angle } = sigmas(covariance);
  const radius = ellipseRadius(confidence, degreesOfFreedom);
  const [a, b] = [major * radius, minor * radius];
  const [dx, dy] = [a * Math.cos(angle), a * Math.sin(angle)];
  const degrees = (angle * 180) / Math.PI;
  const arc = `A${a} ${b} ${degrees} 1 0`;
  return `M${x - dx} ${y - dy}${arc} ${x + dx} ${y + dy}${arc} ${x - dx} ${y - dy}`;
}
